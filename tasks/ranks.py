"""`python -m tasks.ranks N ORDER`: a stage as N processes under torchrun. Started by tasks/supervisor.py, not by people.

Each of them is `python -m tasks.stage ORDER`; the first reports and writes. They die with this process, and this process
with the supervisor. A SIGTERM is handed on to all of them. What one has to say of its end, it has said by itself; here are
the words for one that was killed.
"""

import json
import logging
import os
import signal
import sys
import tempfile
import traceback

from tasks import machine
from tasks.errors import in_words
from tasks.stage import Stop, close_log, say_stopped
from tasks.supervisor import GRACE_SECONDS, PREEMPTED, die_with_parent, explain_status

AT_ONCE = 10  # seconds within which processes fail for the same reason; torchrun kills those that hang after 30
BY_OTHERS = (signal.SIGTERM, signal.SIGABRT)  # from torchrun, and from a library that has lost the other processes


def main() -> int:
    die_with_parent(signal.SIGKILL, int(os.environ["EARSHOT_SUPERVISOR"]))
    os.environ["EARSHOT_SUPERVISOR"] = str(os.getpid())
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(round(GRACE_SECONDS) - 5)
    sys.stdout = sys.stderr  # the standard output is the supervisor's pipe
    logging.disable(logging.ERROR)  # what torchrun has to say of our ends
    stop = Stop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    try:
        status = launch(int(sys.argv[1]), sys.argv[2])
    except KeyboardInterrupt:  # torchrun has handed it on, and has waited for them
        status = PREEMPTED
    except Exception as error:
        traceback.print_exc()
        tell(in_words(error))
        return 1
    if status == PREEMPTED:
        stop.heard = True
        if os.fstat(0).st_nlink:  # our input is the folder's lock, which is removed when the folder is finished
            say_stopped()
    return status


def launch(count: int, order: str) -> int:
    """Run the stage in so many processes. Returns the exit status that one process would have."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="earshot-") as folder:
        config = LaunchConfig(  # as of `torchrun --standalone --nproc-per-node`
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=str(os.getpid()),
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle="SIGHUP,SIGQUIT",  # the others are ours, as in every stage
        )
        try:
            elastic_launch(config, sys.executable)("-m", "tasks.stage", order)
        except ChildFailedError as error:
            failures = list(error.failures.values())
            if all(failure.exitcode in (PREEMPTED, -signal.SIGTERM) for failure in failures):
                return PREEMPTED
            first = min(failures, key=lambda failure: failure.timestamp)
            soon = [failure.exitcode for failure in failures if failure.timestamp <= first.timestamp + AT_ONCE]
            killed = [status for status in soon if status < 0 and -status not in BY_OTHERS]
            tell(explain_status((killed or soon)[0]), cause=bool(killed))
            return 1
    return 0


def tell(error: str, cause: bool = False) -> None:
    """Tell the supervisor; it believes a process that told it of an error before, unless this is the cause of that one."""
    os.write(1, (json.dumps({"error": error, "cause": cause}) + "\n").encode())


def part() -> None:
    """Leave the first process alone, once a training is over: it has more to do, and its log must be complete by then."""
    import torch

    if machine.rank():
        close_log()
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
