import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from noseprint.commands.report import Report
from noseprint.data.tables import read_retrieval, read_train
from noseprint.errors import NoseprintError
from noseprint.models.network import SupConNet
from noseprint.models.weights import save_weights

from . import in_process


def noseprint(*arguments, cwd=None, status=0):
    done = in_process.noseprint(*arguments, cwd=cwd)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def write_weights(path, **extra):
    """Write a tiny network; return it."""
    network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=8, pretrained=False)
    save_weights(path, network, extra=extra)
    return network


def test_fuse_joins_pairs_by_name_and_keeps_the_order_of_the_table(tmp_path):
    (tmp_path / "pairs.csv").write_text("imageA,imageB\nx.jpg,y.jpg\nz.jpg,x.jpg\nx.jpg,y.jpg\n")
    (tmp_path / "a.csv").write_text("imageA,imageB,prediction\nz.jpg,x.jpg,0.25\nx.jpg,y.jpg,0.5\n")
    (tmp_path / "b.csv").write_text("imageA,imageB,prediction\nx.jpg,y.jpg,0.75\nx.jpg,z.jpg,0.5\n")
    noseprint("fuse", "a.csv", "b.csv", "--pairs", "pairs.csv", "--out", "out/final.csv", cwd=tmp_path)
    with (tmp_path / "out" / "final.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["imageA"], r["imageB"], float(r["prediction"])) for r in rows] == [
        ("x.jpg", "y.jpg", 0.625),
        ("z.jpg", "x.jpg", 0.375),
        ("x.jpg", "y.jpg", 0.625),
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["check", ".", "--plan", "--csv", "f.csv"], 1, "leave out one of the two"),
        (["fuse", "a.csv", "--pairs", "none.csv"], 1, "none.csv: the table is missing"),
        (["fuse", "a.csv", "a.csv", "--pairs", "pairs.csv"], 1, "named twice"),
        (["fuse", "a.csv", "--pairs", "pairs.csv", "--method", "vote"], 2, "vote"),
        (["evaluate", "--data", "."], 1, "--root .: there is no members.txt in it"),
        (["weights", "pairs.csv"], 1, "not a safetensors file"),
        (["weights", "none.pth"], 1, "none.pth: no such checkpoint"),
        (["embed", ".", "--weights", "none.safetensors"], 1, ".: has no photographs"),
        (["search", "pairs.csv", "--gallery", "pairs.csv"], 1, "pairs.csv: not a complete gallery"),
        (["embed", "none.jpg", "--weights", "none.safetensors"], 1, "none.jpg: no such photograph or folder"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(tmp_path, arguments, status, message):
    (tmp_path / "pairs.csv").write_text("imageA,imageB\nx.jpg,y.jpg\n")
    done = noseprint(*arguments, cwd=tmp_path, status=status)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"pairs.csv"}


def test_evaluate_prints_a_table_and_writes_json(tmp_path, demo):
    for name in ("one", "two"):
        write_weights(tmp_path / name / "results" / "small" / "best.safetensors")
    campaign = ("--small", "--data", demo, "--root", tmp_path, "--members", "one", "two")
    done = noseprint("evaluate", *campaign, "--json", "s.json", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 120
    tables = [n + 1 for n, line in enumerate(lines) if line.split()[:1] in (["ROC"], ["mAP"])]
    assert len(tables) == 2
    for n in tables:
        assert [line.split()[0] for line in lines[n : n + 3]] == ["one", "two", "ensemble"]
    assert "by the rule of 30" in done.stdout
    assert "Near copies" not in done.stdout
    assert "Learned from" not in done.stdout
    scores = json.loads((tmp_path / "s.json").read_text())
    assert set(scores) == {"one", "two", "ensemble", "data"}
    assert f"{scores['ensemble']['rank_5']['value']:.4f} [{scores['ensemble']['rank_5']['low']:.4f}" in done.stdout


def test_evaluate_reports_near_copies_of_training_photographs(tmp_path, demo):
    data = Path(shutil.copytree(demo, tmp_path / "data"))
    write_weights(tmp_path / "one" / "results" / "best.safetensors")
    table = read_retrieval(data)
    query = table.paths[table.is_query.index(True)]
    shutil.copyfile(read_train(data).paths[0], query)
    done = noseprint("evaluate", "--data", data, "--root", tmp_path, "--members", "one", cwd=tmp_path)
    output = " ".join(done.stdout.split())
    assert re.search(rf"Near copies: 1 scored .* and 0 comparisons .*, such as {query.name}", output)
    assert re.search(r"Without them, one scores ROC AUC 0\.\d{4} \([+-]0\.\d{4}\), mAP 0", output)


def test_a_search_without_answers_stops_neither_scores_nor_report(tmp_path, demo):
    data = Path(shutil.copytree(demo, tmp_path / "data"))
    write_weights(tmp_path / "one" / "results" / "best.safetensors")
    header, *lines = (data / "retrieval.csv").read_text().splitlines()
    (data / "retrieval.csv").write_text("\n".join([f"{header},date", *(f"{line},2024" for line in lines)]))
    campaign = ("--data", "data", "--members", "one")
    done = noseprint("report", *campaign, cwd=tmp_path)
    assert "ROC AUC" in done.stdout
    assert "Not searched: according to the column date of data/retrieval.csv" in done.stdout
    assert "Not searched" in json.loads((tmp_path / "results" / "scores.json").read_text())["data"]["remarks"][0]
    (data / "test" / "labels.csv").unlink()
    done = noseprint("report", *campaign, cwd=tmp_path)
    assert "according to the column date of" in (tmp_path / "results" / "report.html").read_text()
    done = noseprint("evaluate", *campaign, cwd=tmp_path, status=1)
    assert len(done.stderr.splitlines()) == 1
    assert "according to the column date of" in done.stderr


def test_queries_that_are_left_out_are_counted_by_their_reason(tmp_path, demo):
    data = Path(shutil.copytree(demo, tmp_path / "data"))
    write_weights(tmp_path / "one" / "results" / "best.safetensors")
    header, *lines = (data / "retrieval.csv").read_text().splitlines()
    identities = list(dict.fromkeys(line.split(",")[2] for line in lines))
    met = {identities[0]: "north", identities[1]: ""}
    lines = [f"{line},{met.get(line.split(',')[2], number)}" for number, line in enumerate(lines)]
    lines = [line for line in lines if f"gallery,{identities[1]}," not in line]
    (data / "retrieval.csv").write_text("\n".join([f"{header},camera", *lines]))
    done = noseprint("evaluate", "--data", "data", "--members", "one", cwd=tmp_path)
    assert "Left out: 1 queries without a match in the gallery.\n" in done.stdout
    assert "Left out: 1 queries without a match in the gallery of another camera.\n" in done.stdout


def test_no_output_overwrites_an_input(tmp_path, demo):
    data = Path(shutil.copytree(demo, tmp_path / "data"))
    write_weights(tmp_path / "one" / "results" / "best.safetensors")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "verifier.json").write_text("{}")
    (tmp_path / "linked.csv").hardlink_to(data / "retrieval.csv")
    (tmp_path / "a.csv").write_text("imageA,imageB,prediction\nx.jpg,y.jpg,0.25\n")
    (tmp_path / "pairs.csv").write_text("imageA,imageB\nx.jpg,y.jpg\n")
    (tmp_path / "labels.csv").write_text("imageA,imageB,label\nx.jpg,y.jpg,1\n")
    campaign = ("--data", "data", "--members", "one")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for arguments, message in [
        (("check", "data", "--csv", "data/train/train_data.csv"), "would be lost"),
        (("check", "data", "--csv", "linked.csv"), "would be lost"),
        (("check", "data", "--csv", "found.txt"), "ends in .csv"),
        (("evaluate", *campaign, "--json", "data/test/labels.csv"), "ends in .json"),
        (("evaluate", *campaign, "--json", "results/verifier.json"), "would be lost"),
        (("report", *campaign, "--json", "data/retrieval.csv"), "ends in .json"),
        (("fuse", "a.csv", "--pairs", "pairs.csv", "--out", "pairs.csv"), "would be lost"),
        (("fuse", "a.csv", "--pairs", "pairs.csv", "--out", "labels.csv"), "would be lost"),
        (("fuse", "a.csv", "--pairs", "pairs.csv", "--out", "a.csv"), "would be lost"),
        (("fuse", "a.csv", "--pairs", "data/test/test_data.csv", "--out", "data/retrieval.csv"), "would be lost"),
    ]:
        done = noseprint(*arguments, cwd=tmp_path, status=1)
        assert len(done.stderr.splitlines()) == 1, arguments
        assert message in done.stderr, arguments
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for out in ("/dev/stdout", "data/answer.CSV", "data/answer.CSV"):  # its own output may be overwritten
        done = noseprint("fuse", "a.csv", "--pairs", "pairs.csv", "--out", out, cwd=tmp_path)


def test_embed_and_search(tmp_path, demo):
    write_weights(tmp_path / "w.safetensors")
    images = demo / "train" / "images"
    done = noseprint("embed", images, "--weights", "w.safetensors", "--out", "g.safetensors", cwd=tmp_path)
    table = demo / "train" / "train_data.csv"
    done = noseprint("search", images, "--gallery", "g.safetensors", "--top", 2, "--identities", table, cwd=tmp_path)
    assert done.stdout.splitlines()[-1].endswith(" rows: found.csv")
    assert ": most similar to " in done.stdout
    before = (tmp_path / "w.safetensors").read_bytes()
    done = noseprint("embed", images, "--weights", "w.safetensors", "--out", "w.safetensors", cwd=tmp_path, status=1)
    assert (tmp_path / "w.safetensors").read_bytes() == before
    assert "would be lost" in done.stderr
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows[::2]] == [row["query"] for row in rows[::2]]
    assert {row["rank"] for row in rows} == {"1", "2"}


def test_weights_are_described_without_torch(tmp_path):
    extra = {"recipe": "v2_stage2", "holdout": '{"auc": 0.91}', "calibration": '{"slope": 1.0, "intercept": 0.0}'}
    network = write_weights(tmp_path / "w.safetensors", **extra)
    described = json.loads(noseprint("weights", "w.safetensors", "--json", cwd=tmp_path).stdout)
    assert described["parameters"] == sum(weight.numel() for weight in network.parameters())
    expected = {"recipe": "v2_stage2", "backbone": "test_efficientnet.r160_in1k", "image_size": 32, "dim": 8}
    expected |= {"holdout": {"auc": 0.91}, "calibrated": True}
    assert {name: described[name] for name in expected} == expected
    code = (
        "import sys; sys.argv = ['noseprint', 'weights', 'w.safetensors']; from noseprint.cli import main; main();"
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (lines["holdout"], lines["calibrated"]) == ("auc 0.9100", "yes")
    assert lines["fingerprint"] == described["fingerprint"]
    with torch.no_grad():
        network.heads[0].weight.fill_(torch.nan)
    save_weights(tmp_path / "w.safetensors", network, extra={})
    done = noseprint("weights", "w.safetensors", cwd=tmp_path, status=1)
    assert "1 tensors are not finite (heads.0.weight" in done.stderr


def test_report_writes_the_page_and_the_scores_and_keeps_a_fuller_page(tmp_path, demo):
    for name in ("one", "two"):
        write_weights(tmp_path / name / "results" / "best.safetensors")
    command = ["report", "--data", demo, "--root", tmp_path, "--device", "cpu", "--members", "one", "two"]
    page = tmp_path / "results" / "report.html"
    done = noseprint(*command, "--no-scores")
    assert "Not scored yet" in page.read_text()
    assert not (tmp_path / "results" / "scores.json").exists()
    done = noseprint(*command)
    assert "ensemble" in done.stdout
    assert str(page) in done.stdout
    scored = page.read_text()
    assert json.loads((tmp_path / "results" / "scores.json").read_text())["ensemble"]["auc"]
    assert "Hardest pairs" in scored
    assert "newer than the weights" in noseprint(*command, "--no-scores").stdout
    assert page.read_text() == scored


def test_report_refuses_wrong_campaigns(tmp_path, demo):
    for name in ("one", "two"):
        (tmp_path / name / "results" / "t").mkdir(parents=True)
    (tmp_path / "one" / "results" / "t" / "best.safetensors").write_bytes(b"x")
    for options, message in (
        ({"run": "t", "members": ("one", "two")}, r"two/results/t/best\.safetensors is missing"),
        ({"run": "t", "members": ("one", "tow")}, "no recipe folder tow"),
        ({"run": "t", "members": ("one", "../x")}, r"no recipe folder \.\./x"),
        ({"run": "t", "members": ("one", "one")}, "twice"),
        ({"run": "t", "small": True, "members": ("one",)}, "give one of them"),
        ({"run": "t", "members": ("one",), "data": tmp_path / "nowhere"}, "is not a folder"),
        ({"run": "other", "members": ("one", "two")}, "has no run other"),
    ):
        with pytest.raises(NoseprintError, match=message):
            Report(**({"data": demo, "root": tmp_path} | options))()
    assert not (tmp_path / "results").exists()


def test_evaluate_warns_if_networks_were_trained_on_other_photographs(tmp_path, demo):
    weights = tmp_path / "one" / "results" / "best.safetensors"
    write_weights(weights, training='{"holdout": 0.2}', held_out="0123456789abcdef")
    campaign = ["--data", demo, "--root", tmp_path, "--device", "cpu", "--members", "one"]
    done = noseprint("evaluate", *campaign, "--json", tmp_path / "scores.json")
    output = " ".join(done.stdout.split())
    assert f"The networks were not trained on the photographs in {demo / 'train'}" in output
    assert "Learned from" not in output
    assert json.loads((tmp_path / "scores.json").read_text())["data"]["other_data"]
    noseprint("report", *campaign)
    page = (tmp_path / "results" / "report.html").read_text()
    assert "trained on other photographs than those of demo" in page
