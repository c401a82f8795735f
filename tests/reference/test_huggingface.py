"""Stacks of our parts against Hugging Face's, with the same weights: T5 and Llama, BERT and GPT-2.

Each differs from ours in what it has (no bias, other names, no 1/sqrt(d_k)), never in what it computes: what we have
more is set to zero, and what it leaves out is folded into the weights.
"""

from collections.abc import Callable, Mapping

import pytest
import torch
import transformers
from torch import Tensor, nn

from kakehashi.config import resolve
from kakehashi.models.stack import Shared, Stack, StackModule
from kakehashi.nn.mixers.protocol import Context
from kakehashi.nn.positions import Mode

WIDTH, HEADS, SIZE, DEPTH, LENGTH = 16, 4, 24, 2, 40
MASK = torch.arange(LENGTH) < torch.tensor([[LENGTH], [LENGTH - 7]])

QKVO = ("query", "key", "value", "output")

Names = Mapping[str, str]
"""The name of a sub-module of our layer: its name in theirs."""


def stack(mode: Mode, **parts: object) -> StackModule:
    torch.manual_seed(1)
    module = resolve({"depth": DEPTH, **parts}, Stack).build(Shared(WIDTH, HEADS, 0.0), mode, "stack")
    return module.double().eval()


def theirs(model: nn.Module) -> nn.Module:
    """In float64, with all parameters away from their start: zero biases and unit gains would hide much."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.double().eval()


def copy(ours: nn.Module, source: nn.Module, names: Names) -> None:
    """Weights and biases; where they have no bias, ours is zero."""
    for name, other in names.items():
        target, origin = ours.get_submodule(name), source.get_submodule(other)
        for kind, parameter in target.named_parameters(recurse=False):
            given = getattr(origin, kind, None)
            parameter.data = torch.zeros_like(parameter) if given is None else given.detach().clone()


def context(mode: Mode) -> Context:
    return Context(torch.arange(LENGTH)[None], mask=MASK if mode == "bidirectional" else None)


def vectors() -> Tensor:
    return torch.randn(2, LENGTH, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def assert_same(ours: Callable[[], Tensor], others: Callable[[], Tensor]) -> None:
    torch.testing.assert_close(ours()[MASK], others()[MASK], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
@pytest.mark.parametrize("feedforward", ["relu", "gated-silu"])
def test_t5(mode: Mode, feedforward: str) -> None:
    """RMS norm before, T5's buckets shared by the layers; scores are not scaled, so ours are scaled back."""
    config = transformers.T5Config(
        d_model=WIDTH, d_kv=WIDTH // HEADS, d_ff=SIZE, num_layers=DEPTH, num_heads=HEADS, feed_forward_proj=feedforward,
        relative_attention_num_buckets=8, relative_attention_max_distance=20, dropout_rate=0.0, vocab_size=5,
        is_decoder=mode == "causal", use_cache=False,
    )  # fmt: skip
    model = theirs(transformers.models.t5.modeling_t5.T5Stack(config))
    kind = "relu" if feedforward == "relu" else "swiglu"
    ours = stack(
        mode,
        norm={"kind": "rms", "epsilon": config.layer_norm_epsilon},
        position={"kind": "t5", "buckets": 8, "max_distance": 20},
        layers=[{"feedforward": {"kind": kind, "size": SIZE}}],
    )
    last = "layer.2" if mode == "causal" else "layer.1"  # their decoders have cross-attention in between, unused here
    inner = {"inner": "wi"} if kind == "relu" else {"gate": "wi_0", "inner": "wi_1"}
    for layer, other in zip(ours.layers, model.block, strict=True):
        attention = "layer.0.SelfAttention"
        copy(layer, other, {
            **{f"mixer.{a}": f"{attention}.{b}" for a, b in zip(QKVO, "qkvo", strict=True)},
            **{f"feedforward.{a}": f"{last}.DenseReluDense.{b}" for a, b in {**inner, "outer": "wo"}.items()},
            "mixer_residual.norm": "layer.0.layer_norm",
            "feedforward_residual.norm": f"{last}.layer_norm",
        })  # fmt: skip
        layer.mixer.query.weight.data *= (WIDTH // HEADS) ** 0.5
    copy(ours, model, {"norm": "final_layer_norm"})
    copy(ours, model, {"positions.0.table": "block.0.layer.0.SelfAttention.relative_attention_bias"})
    shown = MASK if mode == "bidirectional" else torch.ones_like(MASK)
    assert_same(
        lambda: ours(vectors(), context(mode)),
        lambda: model(inputs_embeds=vectors(), attention_mask=shown.long()).last_hidden_state,
    )


def test_llama() -> None:
    """RMS norm before, rotary positions, grouped queries, SwiGLU, no bias."""
    config = transformers.LlamaConfig(
        hidden_size=WIDTH, intermediate_size=SIZE, num_hidden_layers=DEPTH, num_attention_heads=HEADS,
        num_key_value_heads=2, vocab_size=5, rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )  # fmt: skip
    model = theirs(transformers.LlamaModel(config))
    ours = stack(
        "causal",
        norm={"kind": "rms", "epsilon": config.rms_norm_eps},
        position={"kind": "rope", "theta": 500.0},
        layers=[
            {"mixer": {"kind": "attention", "kv_heads": 2}, "feedforward": {"kind": "swiglu", "size": SIZE}},
        ],
    )
    for layer, other in zip(ours.layers, model.layers, strict=True):
        copy(layer, other, {
            **{f"mixer.{a}": f"self_attn.{b}_proj" for a, b in zip(QKVO, "qkvo", strict=True)},
            "feedforward.gate": "mlp.gate_proj",
            "feedforward.inner": "mlp.up_proj",
            "feedforward.outer": "mlp.down_proj",
            "mixer_residual.norm": "input_layernorm",
            "feedforward_residual.norm": "post_attention_layernorm",
        })  # fmt: skip
    copy(ours, model, {"norm": "norm"})
    assert_same(lambda: ours(vectors(), context("causal")), lambda: model(inputs_embeds=vectors()).last_hidden_state)


def test_bert() -> None:
    """The paper's post-norm encoder with GELU; padding hidden. Without its embeddings, which have a norm."""
    config = transformers.BertConfig(
        hidden_size=WIDTH, intermediate_size=SIZE, num_hidden_layers=DEPTH, num_attention_heads=HEADS, vocab_size=5,
        attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0,
    )  # fmt: skip
    model = theirs(transformers.BertModel(config, add_pooling_layer=False))
    ours = stack(
        "bidirectional",
        placement="post",
        position="none",
        norm={"kind": "layer", "epsilon": config.layer_norm_eps},
        layers=[{"feedforward": {"kind": "gelu", "size": SIZE}}],
    )
    encoder = model.get_submodule("encoder")
    for layer, other in zip(ours.layers, encoder.get_submodule("layer").children(), strict=True):
        copy(layer, other, {
            **{f"mixer.{name}": f"attention.self.{name}" for name in ("query", "key", "value")},
            "mixer.output": "attention.output.dense",
            "mixer_residual.norm": "attention.output.LayerNorm",
            "feedforward.inner": "intermediate.dense",
            "feedforward.outer": "output.dense",
            "feedforward_residual.norm": "output.LayerNorm",
        })  # fmt: skip
    hidden = torch.zeros(2, 1, 1, LENGTH, dtype=torch.float64).masked_fill(~MASK[:, None, None], -1e30)
    assert_same(
        lambda: ours(vectors(), context("bidirectional")),
        lambda: encoder(vectors(), attention_mask=hidden).last_hidden_state,
    )


def test_gpt2() -> None:
    """Pre-norm, learned positions, causal; its linear layers are stored the other way round, q, k and v as one."""
    config = transformers.GPT2Config(
        n_embd=WIDTH, n_inner=SIZE, n_layer=DEPTH, n_head=HEADS, n_positions=LENGTH, vocab_size=5,
        activation_function="gelu", attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    model = theirs(transformers.GPT2Model(config))
    ours = stack(
        "causal",
        position={"kind": "learned", "max_length": LENGTH},
        layers=[{"feedforward": {"kind": "gelu", "size": SIZE}}],
    )
    for layer, other in zip(ours.layers, model.h, strict=True):
        weights, biases = other.attn.c_attn.weight.T.chunk(3), other.attn.c_attn.bias.chunk(3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            linear(layer, f"mixer.{name}", weight, bias)
        for name, conv in (
            ("mixer.output", other.attn.c_proj),
            ("feedforward.inner", other.mlp.c_fc),
            ("feedforward.outer", other.mlp.c_proj),
        ):
            linear(layer, name, conv.weight.T, conv.bias)
        copy(layer, other, {"mixer_residual.norm": "ln_1", "feedforward_residual.norm": "ln_2"})
    copy(ours, model, {"norm": "ln_f", "positions.0.table": "wpe"})
    assert_same(lambda: ours(vectors(), context("causal")), lambda: model(inputs_embeds=vectors()).last_hidden_state)


def linear(ours: nn.Module, name: str, weight: Tensor, bias: Tensor) -> None:
    target = ours.get_submodule(name)
    assert isinstance(target, nn.Linear)
    target.weight.data, target.bias.data = weight.detach().clone(), bias.detach().clone()
