"""One rank among others: what it says when the others are gone, and what it makes of torchrun's variables."""

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.errors import TrainingError, UsageError  # noqa: E402
from lth_deploy.training.ranks.process_group import Ranks, current_ranks, joined  # noqa: E402

LOST = "[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:2963"


def launch(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    usual = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in {**usual, **variables}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_gone_is_one_error_on_the_others(rank: int) -> None:
    ranks = Ranks(rank, 2)
    lost = pytest.raises(TrainingError, match=r"the connection to another rank is lost: .* --max-restarts N")
    with lost as caught, ranks.leading() if rank == 0 else ranks.following():
        raise RuntimeError(LOST)
    assert caught.value.detail == LOST


def test_other_faults_keep_their_own_words() -> None:
    ranks = Ranks(0, 2)
    ranks.working = True
    with pytest.raises(RuntimeError, match="out of memory"), ranks.leading():
        raise RuntimeError("out of memory")


def test_without_torchrun_a_process_is_the_only_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined(gpus=False) as ranks:
        assert (ranks.shared, ranks.leads, ranks.restarted) == (False, True, False)
        ranks.require_same("a", "never said")


def test_one_rank_of_torchrun_needs_no_group_and_knows_that_it_was_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    launch(monkeypatch, TORCHELASTIC_RESTART_COUNT="2")
    with joined(gpus=False) as ranks:
        assert (ranks.shared, ranks.restarted) == (False, True)
        assert not torch.distributed.is_initialized()
        assert not current_ranks().shared


@pytest.mark.parametrize("value", ["two", "-1", "", "9" * 12])
def test_variables_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    launch(monkeypatch, WORLD_SIZE=value)
    refused = pytest.raises(UsageError, match=r"the variable WORLD_SIZE is .*start the ranks with torchrun")
    with refused, joined(gpus=False):
        pass


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    launch(monkeypatch, WORLD_SIZE="2", LOCAL_RANK="1", RANK="1", LOCAL_WORLD_SIZE="2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    refused = pytest.raises(UsageError, match=r"2 ranks on .* need as many GPUs, and torch sees 1; start torchrun with")
    with refused, joined(gpus=True):
        pass


def test_a_rank_where_no_other_listens_says_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    launch(monkeypatch, WORLD_SIZE="2", RANK="1", MASTER_PORT="1", LTH_RENDEZVOUS_SECONDS="1")
    refused = pytest.raises(
        UsageError, match=r"rank 1 did not meet the other 1 at 127\.0\.0\.1:1 within 1 s; start all"
    )
    with refused as caught, joined(gpus=False):
        pass
    assert str(caught.value.detail).startswith("nothing listens there: ")
    assert capfd.readouterr() == ("", "")
