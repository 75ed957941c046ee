"""Rows of a sweep on clusters: submitit's executors, a SLURM of shell scripts, and Ray with two local nodes."""

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.config.sweep_spec import Resources, load_sweep
from lth_deploy.errors import MissingExtraError, RecipeError, UsageError
from lth_deploy.workflow.sweep import processes
from lth_deploy.workflow.sweep.launchers import launcher_of
from lth_deploy.workflow.sweep.launchers.protocol import Task
from lth_deploy.workflow.sweep.launchers.submitted_row import SubmittedRow
from lth_deploy.workflow.sweep.starts import host_of_start, note_start
from lth_deploy.workflow.sweep.status import sweep_status
from lth_deploy.workflow.sweep.sweep import SweepResult, sweep
from tests.waiting import SECONDS, wait_until
from tests.workflow.ticket_runs import tiny_recipe

PROJECT = Path(__file__).parents[3]
SOURCE = 'rows: [{name: a}, {name: b, seeds: [1]}, {name: c, set: {source: {run: "${rows.a}"}}}]'


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROGRAM", "from tests.workflow.search.stand_in_search import main; main()")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")


def swept(folder: Path, text: str, launcher: str, **options: Any) -> SweepResult:
    (folder / "base.yaml").write_text(tiny_recipe().to_yaml())
    (folder / "s.yaml").write_text(f"name: small\nrecipe: base.yaml\n{text}\n")
    return sweep(load_sweep(folder / "s.yaml"), folder / "out", devices=["cpu"], launcher=launcher, **options)


def starts(folder: Path) -> list[str]:
    file = folder / "out" / "starts.jsonl"
    return [json.loads(line)["row"] for line in file.read_text().splitlines()] if file.exists() else []


def states(result: SweepResult) -> dict[str, str]:
    return {row.id: row.state for row in result.record.rows}


def test_launchers_say_what_they_do_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown --launcher 'slrum'; did you mean 'slurm'"):
        launcher_of("slrum", tmp_path, ["cpu"], None)
    with pytest.raises(RecipeError, match="--launcher-option retires=3: retires: unknown key; did you mean 'retries'"):
        launcher_of("ray", tmp_path, ["cpu"], None, {"retires": 3})
    with pytest.raises(UsageError, match="--jobs 0"):
        launcher_of("slurm", tmp_path, ["cpu"], 0)
    for package, name in (("submitit", "slurm"), ("ray", "ray")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"pip install 'lth-deploy\[{name}\]'"):
            launcher_of(name, tmp_path, ["cpu"], None)
    assert not list(tmp_path.iterdir())


def test_resources_of_a_row_go_before_those_of_the_sweep(tmp_path: Path) -> None:
    from lth_deploy.workflow.sweep.rows import rows_of

    (tmp_path / "base.yaml").write_text(tiny_recipe().to_yaml())
    text = "resources: {gpus: 2, hours: 3}\nrows: [{name: a}, {name: b, resources: {gpus: 0, cpus: 4}}]"
    (tmp_path / "s.yaml").write_text(f"name: small\nrecipe: base.yaml\n{text}\n")
    first, second = (row.resources for row in rows_of(load_sweep(tmp_path / "s.yaml"), tmp_path / "out"))
    assert (first.gpus, first.cpus, first.hours) == (2, None, 3)
    assert (second.gpus, second.cpus, second.hours) == (0, 4, 3)


class TestSubmitit:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("submitit", reason="submitit comes with the extra 'slurm'")

    @pytest.mark.parametrize("cluster", ["local", "debug"])
    def test_rows_run_in_the_order_of_their_needs(self, tmp_path: Path, cluster: str) -> None:
        result = swept(tmp_path, SOURCE, "slurm", launcher_options={"cluster": cluster}, jobs=2)
        assert states(result) == dict.fromkeys(("a-seed0", "b-seed1", "c-seed0"), "finished")
        begun = starts(tmp_path)
        assert sorted(begun) == ["a-seed0", "b-seed1", "c-seed0"]
        assert begun.index("a-seed0") < begun.index("c-seed0")
        assert all(row.job is None for row in result.record.rows)

    def test_a_row_that_fails_says_why(self, tmp_path: Path) -> None:
        text = "rows: [{name: lost}, {name: killed, seeds: [1]}]"
        result = swept(tmp_path, text, "slurm", launcher_options={"cluster": "local"})
        assert states(result) == {"lost-seed0": "failed", "killed-seed1": "failed"}
        first, second = result.record.rows
        assert first.error == "the loss stopped being finite;\nlower it"
        assert "SIGKILL" in str(second.error)

    def test_without_slurm_one_sentence_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(UsageError, match=r"this machine has no command srun; .*cluster=local"):
            swept(tmp_path, "seeds: [0]", "slurm")
        assert not (tmp_path / "out" / "sweep.json").exists()
        with pytest.raises(UsageError, match="--device cuda:1: with --launcher slurm choose auto, cpu or cuda"):
            launcher_of("slurm", tmp_path, ["cuda:1"], None)

    def test_rows_that_can_begin_are_one_array_with_their_resources(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster = stand_in_slurm(tmp_path, monkeypatch)
        text = f"resources: {{gpus: 2, cpus: 1, hours: 3}}\n{SOURCE}"
        options = {"partition": "fast", "at_once": 1, "more": {"reservation": "tickets"}}
        result = swept(tmp_path, text, "slurm", launcher_options=options)
        assert result.finished, [row.error for row in result.record.rows]
        first, second = (file.read_text() for file in sorted(cluster.glob("batch*.sh")))
        for line in (
            "--array=0-1%1",
            "--partition=fast",
            "--gpus-per-node=2",
            "--cpus-per-task=1",
            "--time=180",
            "--reservation=tickets",
            "--requeue",
            "--signal=USR2@90",
        ):
            assert f"#SBATCH {line}\n" in first, first
        assert "--array" not in second

    def test_a_row_in_the_queue_is_shown_as_queued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cluster, seen = stand_in_slurm(tmp_path, monkeypatch), []
        (cluster / "hold").touch()

        def state() -> str:
            return sweep_status(tmp_path / "out").rows[0].state

        def look() -> None:
            try:
                wait_until(lambda: list(cluster.glob("log*")) and (tmp_path / "out" / "sweep.json").exists(), "the job")
                wait_until(lambda: state() == "queued", "the row in the queue")
                (cluster / "hold").unlink()
                wait_until(lambda: starts(tmp_path) == ["endless-seed0"], "the start of the row")
                seen.extend([state(), sweep_status(tmp_path / "out").rows[0].host])
            finally:
                (cluster / "hold").unlink(missing_ok=True)
                (tmp_path / "out" / "go").touch()

        other = threading.Thread(target=look)
        other.start()
        result = swept(tmp_path, "rows: [{name: endless}]", "slurm")
        other.join(SECONDS)
        assert result.finished, result.record.rows[0].error
        assert seen == ["running", socket.gethostname()]

    def test_a_row_whose_node_is_taken_away_waits_again(self, tmp_path: Path) -> None:
        places = {name: str(tmp_path / name) for name in ("recipe", "run", "start_file")}
        row = SubmittedRow(Task("a", **places, resources=Resources(), program=""), "cpu", 1, tmp_path / "answer")
        note_start(places["start_file"])
        row.checkpoint()
        assert host_of_start(tmp_path / "start_file") is None

    def test_a_preempted_row_is_begun_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cluster = stand_in_slurm(tmp_path, monkeypatch)

        def preempt() -> None:
            try:
                wait_until(lambda: starts(tmp_path) == ["endless-seed0"], "the start of the row")
                (cluster / "preempt").touch()
                wait_until(lambda: len(starts(tmp_path)) == 2, "its second start")
            finally:
                (tmp_path / "out" / "go").touch()

        other = threading.Thread(target=preempt)
        other.start()
        result = swept(tmp_path, "rows: [{name: endless}]", "slurm")
        other.join(SECONDS)
        assert result.finished, result.record.rows[0].error
        assert starts(tmp_path) == ["endless-seed0"] * 2
        assert (cluster / "requeued").read_text().split() == ["1"]


def stand_in_slurm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """sbatch, srun, scontrol and sacct that run jobs at once on this machine.

    The file `hold` lets jobs wait, and `preempt` asks one to give way.
    """
    cluster = folder / "cluster"
    cluster.mkdir()
    scripts = {
        "sbatch": f"""\
            import os, re, subprocess, sys
            from pathlib import Path
            cluster = Path({str(cluster)!r})
            number = len(list(cluster.glob("batch*.sh"))) + 1
            text = Path(sys.argv[1]).read_text()
            (cluster / f"batch{{number}}.sh").write_text(text)
            array = re.search(r"--array=0-([0-9]+)", text)
            for task in range(int(array[1]) + 1) if array else [None]:
                env = dict(os.environ, SLURM_JOB_ID=str(number), SLURM_PROCID="0", SUBMITIT_EXECUTOR="slurm")
                if array:
                    env.update(SLURM_ARRAY_JOB_ID=str(number), SLURM_ARRAY_TASK_ID=str(task))
                command = [sys.executable, str(cluster / "bin" / "node.py"), str(cluster / f"batch{{number}}.sh")]
                out = (cluster / f"log{{number}}_{{task}}").open("w")
                subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
            print(f"Submitted batch job {{number}}")
            """,
        "srun": """\
            import os, shlex, sys
            at = next(n for n, word in enumerate(sys.argv) if n and not word.startswith("-") and "/" in word)
            while "python" not in sys.argv[at]: at += 1
            os.execv(sys.argv[at], sys.argv[at:])
            """,
        "scontrol": f"""\
            import sys
            from pathlib import Path
            with (Path({str(cluster)!r}) / "requeued").open("a") as file:
                file.write(sys.argv[-1] + "\\n")
            """,
        "sacct": """\
            print("JobID|State|NodeList")
            """,
        "node.py": f"""\
            import os, signal, subprocess, sys, time
            from pathlib import Path
            import psutil
            cluster = Path({str(cluster)!r})
            for _ in range(6000):
                if not (cluster / "hold").exists():
                    break
                time.sleep(0.05)
            while True:
                process = subprocess.Popen(["sh", sys.argv[1]])
                while process.poll() is None:
                    if (cluster / "preempt").exists():
                        (cluster / "preempt").unlink()
                        children = psutil.Process(process.pid).children()
                        os.kill(children[0].pid if children else process.pid, signal.SIGUSR2)
                    time.sleep(0.05)
                known = cluster / "requeued"
                if not known.exists() or (cluster / "again").exists():
                    break
                (cluster / "again").touch()
            """,
    }
    (cluster / "bin").mkdir()
    for name, text in scripts.items():
        file = cluster / "bin" / name
        file.write_text(f"#!{sys.executable} -P\n{textwrap.dedent(text)}")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{cluster / 'bin'}:{os.environ['PATH']}")
    return cluster


class TestRay:
    @pytest.fixture
    def nodes(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """A head without processors, and two nodes with one each, all on loopback."""
        ray = pytest.importorskip("ray", reason="ray comes with the extra 'ray'")
        from ray._private import services
        from ray.cluster_utils import Cluster

        # Ray takes a loopback address for that of the network card.
        monkeypatch.setattr(services, "get_node_ip_address", lambda *_: "127.0.0.1")
        common = {"node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **common})
        try:
            yield [cluster, *(cluster.add_node(num_cpus=1, **common) for _ in range(2))]
        finally:
            ray.shutdown()
            cluster.shutdown()

    def test_an_address_where_nothing_listens_is_refused_at_once(self, tmp_path: Path) -> None:
        pytest.importorskip("ray", reason="ray comes with the extra 'ray'")
        with pytest.raises(UsageError, match=r"no cluster of Ray answers at 127\.0\.0\.1:1; start one with: ray start"):
            swept(tmp_path, "seeds: [0]", "ray", launcher_options={"address": "127.0.0.1:1"})

    @pytest.mark.slow
    def test_a_cluster_that_is_started_here_listens_on_loopback_only(self) -> None:
        pytest.importorskip("ray", reason="ray comes with the extra 'ray'")
        program = """\
            import psutil, ray
            from lth_deploy.workflow.sweep.launchers.ray import Options, RayLauncher
            launcher = RayLauncher("cpu", None, Options())
            launcher._connect()
            assert ray.get(ray.remote(lambda: 7).remote()) == 7
            own = psutil.Process()
            everyone = (own, *own.children(recursive=True))
            sockets = [one for process in everyone for one in process.net_connections("inet")]
            print(*{one.laddr.ip for one in sockets if one.status == "LISTEN"})
            launcher.close()
            """
        env = {**os.environ, "TMPDIR": "/tmp"}  # paths of sockets are short
        env.pop("RAY_ADDRESS", None)
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        assert set(done.stdout.split()) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
        assert done.stdout.split()

    @pytest.mark.slow
    def test_rows_of_a_node_that_is_killed_go_on_on_another(self, tmp_path: Path, nodes: Any) -> None:
        cluster, *workers = nodes

        def kill() -> None:
            try:
                wait_until(lambda: "endless-seed0" in starts(tmp_path), "the start of the row")
                cluster.remove_node(node_of(tmp_path, workers), allow_graceful=False)
                wait_until(lambda: starts(tmp_path).count("endless-seed0") == 2, "its second start")
            finally:
                (tmp_path / "out" / "go").touch()

        other = threading.Thread(target=kill)
        other.start()
        options = {"address": cluster.address}
        text = "rows: [{name: endless}, {name: lost, seeds: [1]}]"
        result = swept(tmp_path, text, "ray", launcher_options=options)
        other.join(SECONDS)
        assert states(result) == {"endless-seed0": "finished", "lost-seed1": "failed"}
        assert result.record.rows[1].error == "the loss stopped being finite;\nlower it"


def node_of(folder: Path, workers: list[Any]) -> Any:
    """The node that runs the row whose process waits."""
    lines = [json.loads(line) for line in (folder / "out" / "starts.jsonl").read_text().splitlines()]
    process = next(line["process"] for line in lines if line["row"] == "endless-seed0")
    above = []
    while process > 1:
        above.append(process)
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return next(node for node in workers if any(one.process.pid in above for one in node.all_processes["raylet"]))
