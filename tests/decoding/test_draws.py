"""Random numbers by hash: even, independent of the batch, and SplitMix64 indeed."""

import torch

from kakehashi.decoding import draws

BITS = (1 << 64) - 1


def splitmix(state: int) -> int:
    """Vigna's reference implementation, in integers without end."""
    z = state = (state + 0x9E3779B97F4A7C15) & BITS
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & BITS
    return z ^ (z >> 31)


def test_the_hash_is_splitmix64() -> None:
    numbers = [0, 1, 2, 12345, 2**40 + 7]
    found = draws._mix(torch.tensor(numbers))
    assert [int(x) & BITS for x in found] == [splitmix(n * 0x9E3779B97F4A7C15 & BITS) for n in numbers]


def test_numbers_are_even_over_sentences_steps_and_seeds() -> None:
    keys = draws.keys(torch.arange(4000)[:, None], torch.ones(4000, 1, dtype=torch.bool))
    several = {
        "sentences": draws.uniforms(1, keys, 3),
        "steps": torch.cat([draws.uniforms(1, keys[:1], step) for step in range(4000)]),
        "seeds": torch.cat([draws.uniforms(seed, keys[:1], 1) for seed in range(4000)]),
    }
    for name, numbers in several.items():
        assert numbers.min() >= 0 and numbers.max() < 1 and len(numbers.unique()) == 4000, name
        assert abs(numbers.mean() - 0.5) < 0.02 and abs(numbers.var() - 1 / 12) < 0.005, name
        pairs = torch.stack((numbers[:-1], numbers[1:]))
        assert abs(torch.corrcoef(pairs)[0, 1]) < 0.05, name


def test_a_key_is_what_the_row_says() -> None:
    tokens = torch.tensor([[5, 6, 7, 0], [6, 5, 7, 0], [5, 6, 0, 0], [5, 6, 7, 9]])
    mask = torch.tensor([[True] * 3 + [False]] * 2 + [[True, True, False, False]] + [[True] * 3 + [False]])
    one, turned, shorter, same = draws.keys(tokens, mask).tolist()
    assert one == same and len({one, turned, shorter}) == 3
    assert draws.keys(tokens[:, :3], mask[:, :3]).tolist() == [one, turned, shorter, same]
