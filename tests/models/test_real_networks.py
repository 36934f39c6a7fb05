"""The four networks of the full recipe at full size."""

import torch
from pytorch_metric_learning.losses import SupConLoss


def test_one_training_step_and_inference_at_full_size(real_network):
    _, member, network = real_network
    generator = torch.Generator().manual_seed(0)
    size = member.image_size
    # Three images: with two, the only positive is the only candidate and SupCon is 0 whatever the weights.
    images = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8, generator=generator)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.0)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    loss = SupConLoss(temperature=0.07)(network(images), torch.tensor([0, 0, 1]))
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert loss > 0
    after = network.state_dict()
    learned = dict(network.named_parameters())
    moved = {key for key in after if not torch.equal(before[key], after[key])}
    assert all(torch.isfinite(tensor).all() for tensor in after.values())
    assert moved <= set(learned)
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in learned.values())
    # Both ends, and most of the weights between: some gradients of a random deep network are too small for float32.
    assert {next(iter(learned)), "heads.0.weight", "heads.1.weight"} <= moved
    assert len(moved) > 0.5 * len(learned)

    optimizer.zero_grad(set_to_none=True)
    network.eval()
    shapes = []
    handle = network.backbone.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape)))
    with torch.no_grad():
        embedding = network.embed(images[:1])
    handle.remove()
    assert shapes == [(1, member.channels, member.side, member.side)]
    assert embedding.shape == (1, 2 * member.channels)
    torch.testing.assert_close(embedding.norm(), torch.tensor(1.0))
