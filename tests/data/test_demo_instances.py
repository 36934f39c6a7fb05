"""The drawn things of three domains."""

from collections import Counter
from pathlib import Path

import pytest

from noseprint.data.demo_instances import DOMAINS, write_demo_instances
from noseprint.data.instances import read_instances
from noseprint.errors import NoseprintError


def test_the_same_seed_gives_the_same_bytes_and_no_identity_is_in_both_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = {domain: identities[:6] for domain, identities in DOMAINS.items()}
    monkeypatch.setattr("noseprint.data.demo_instances.DOMAINS", fewer)  # all of them take longer
    for name in ("one", "two"):
        write_demo_instances(tmp_path / name, seed=3)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    table = read_instances(tmp_path / "one")
    assert set(table.domains) == set(fewer)
    train, test = (set(table.part(part).identities) for part in ("train", "test"))  # type: ignore[arg-type]
    assert not train & test
    assert len(train) + len(test) == sum(map(len, fewer.values()))
    assert set(Counter(table.part("test").roles)) == {"query", "index"}
    write_demo_instances(tmp_path / "one", seed=3)  # again: nothing to do
    with pytest.raises(NoseprintError, match="not a demo with these options"):
        write_demo_instances(tmp_path / "one", seed=4)
