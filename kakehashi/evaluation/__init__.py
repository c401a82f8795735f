"""How good is a translation, is one system better than another, and what a model's owner should know about it.

`metrics` scores by sacrebleu, `significance` compares two systems by paired bootstrap resampling, `card` is the
`card.json` of a model directory. Nothing here knows a model: lines of text go in. Nothing here uses the network.
"""
