"""`ENGINE=slurm` against a real Slurm of one node: jobs cancelled, preempted, queued again, and at their time limit.

`make test-cluster` starts it from Debian's packages (`sudo apt install slurm-wlm munge`), as root or in a container;
without them, and in `make test`, these are reported as not run. `RELIABILITY=<folder>` keeps the figures.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from mtlser import machine
from mtlser.files import write_json
from mtlser.runs.records import read_records, run_status
from smoke import ROOT, clean_environment

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
# Long enough that Slurm, which gives a job some seconds to end, is felt.
FOUR = {"MTLSER_ALPHAS": "0,0.1", "MTLSER_EPOCHS": "15"}
JOB = {"gpus_per_node": 0, "cpus_per_task": 1, "timeout_min": 20}
NUM_TESTS = 5
LIMIT_MINUTES = 3  # of the job that is ended: training saves once a minute, and Slurm may signal a minute early
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=5
MinJobAge=3600
SchedulerParameters=sched_interval=1,batch_sched_delay=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=off
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def slurm(request, tmp_path_factory):
    """A Slurm of one node, this machine, without accounting; its SLURM_CONF."""
    if request.config.getoption("-m") != "cluster":
        pytest.skip("NOT RUN: make test-cluster runs it")
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"NOT RUN: no {', '.join(missing)}; sudo apt install slurm-wlm munge")
    if os.geteuid():
        pytest.skip("NOT RUN: Slurm's daemons are started as root")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    for path in (folder, *folder.parents):  # munge's socket is for every user
        if path.stat().st_uid == 0 and path.is_relative_to(tmp_path_factory.getbasetemp().parents[1]):
            path.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    names = {"host": socket.gethostname().split(".")[0], "port": free_port(), "other_port": free_port()}
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(folder=folder, cpus=os.cpu_count(), **names), encoding="utf-8")
    environment = os.environ | {"SLURM_CONF": str(conf)}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.sock"]
    munge += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
    commands = (munge, ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-c"])
    log = (folder / "daemons.log").open("w")
    daemons = []
    try:
        for command in commands:
            daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            time.sleep(1)
        deadline = time.monotonic() + 60
        while "idle" not in (state := ask(conf, "sinfo", "--noheader", "--format=%t")):
            assert time.monotonic() < deadline, f"Slurm does not start: {state}; {(folder / 'daemons.log').read_text()}"
            time.sleep(1)
        yield conf
    finally:
        ask(conf, "scancel", "--user=root")
        deadline = time.monotonic() + 30
        while ask(conf, "squeue", "--noheader").strip() and time.monotonic() < deadline:
            time.sleep(1)  # else jobs outlive the daemons
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)
        log.close()


def ask(conf: Path, *command: str) -> str:
    done = subprocess.run(command, env=os.environ | {"SLURM_CONF": str(conf)}, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def figures(slurm):
    """What happened to the jobs of this session; after all tests it goes to the folder that RELIABILITY names."""
    counts = Counter(submitted=0, cancelled=0, preempted=0, requeued=0, timed_out=0, lost=0, differing=0, tests=0)
    yield counts
    differing = counts.pop("differing")
    if (folder := os.environ.get("RELIABILITY")) and counts.pop("tests") == NUM_TESTS:
        about = {"slurm": ask(slurm, "sinfo", "--version").split()[-1], "nodes": 1, "preset": "smoke"}
        about |= {"hardware": machine.hardware(), "versions": machine.versions(), "revision": machine.revision()}
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        record = {**counts, "records_equal": not differing, **about, "finished": finished}
        write_json(Path(folder) / "cluster.json", record)


def start(artifacts: Path, **variables: str) -> subprocess.Popen:
    """`python -m mtlser run table4` on the smoke preset."""
    return subprocess.Popen(
        [sys.executable, "-m", "mtlser", "run", "table4", "--preset", "smoke"],
        cwd=ROOT, env=clean_environment(MTLSER_ARTIFACTS=str(artifacts), **variables),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def submit(conf: Path, artifacts: Path, job: dict | None = None, **variables: str) -> subprocess.Popen:
    given = {"MTLSER_ENGINE": "slurm", "MTLSER_SLURM": json.dumps(JOB | (job or {})), "SLURM_CONF": str(conf)}
    return start(artifacts, **given, **variables)


def finish(process: subprocess.Popen, code: int = 0) -> str:
    _, said = process.communicate(timeout=1500)
    assert process.returncode == code, said
    return said


def running(artifacts: Path, process: subprocess.Popen) -> Path:
    """The folder of a run that trains, as soon as there is one."""
    while True:
        assert process.poll() is None, process.stderr.read()
        for path in sorted((artifacts / "runs").glob("*/run.json")):
            if run_status(path.parent) == "running":
                return path.parent
        time.sleep(0.2)


def job_of(conf: Path, artifacts: Path, run: Path) -> str:
    """The id of the job that trains a run: the array's tasks are the missing runs in their order."""
    order = json.loads(next((artifacts / "orders").glob("*.json")).read_text(encoding="utf-8"))
    place = [task["run_id"] for task in order["runs"]].index(run.name)
    jobs = ask(conf, "squeue", "--noheader", "--array", "--format=%i").split()
    [found] = [job for job in jobs if "_" not in job or job.endswith(f"_{place}")]  # of one run submitit makes no array
    return found


def comparable(artifacts: Path) -> list[pd.DataFrame]:
    found = read_records(sorted(path.parent for path in (artifacts / "runs").glob("*/run.json")))
    times = ["seconds", "started", "finished", "device", "launched_by", "revision"]
    return [found.runs.drop(columns=times), found.history.drop(columns="seconds"), found.predictions]


def settle(figures: Counter, artifacts: Path, local: Path, **happened: int) -> None:
    """Counts what happened, jobs whose run nobody has, and tables that are not, bit for bit, those of this machine."""
    ours, theirs = comparable(artifacts), comparable(local)
    lost = set(theirs[0]["run_id"]) - set(ours[0]["run_id"][ours[0]["status"] == "done"])
    differing = sum(not one.equals(other) for one, other in zip(ours, theirs, strict=True))
    figures.update(happened, lost=len(lost), differing=differing, tests=1)
    assert not lost
    for one, other in zip(ours, theirs, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def restarts(conf: Path, job: str) -> int:
    """How often Slurm started a job again."""
    found = re.search(r"Restarts=(\d+)", ask(conf, "scontrol", "show", "job", job))
    return int(found[1]) if found else 0


def do_not_wait(conf: Path, *jobs: str) -> None:
    """Starts a job that is queued again now: Slurm would wait two minutes."""
    for job in jobs:
        ask(conf, "scontrol", "update", f"JobId={job}", "StartTime=now")


@pytest.fixture(scope="module")
def local(slurm, tmp_path_factory) -> Path:
    """Four runs trained here, and the corpus that all tests share."""
    artifacts = tmp_path_factory.mktemp("local")
    finish(start(artifacts, **FOUR))
    return artifacts


@pytest.fixture
def artifacts(local, tmp_path) -> Path:
    for name in ("corpora", "cache"):
        shutil.copytree(local / name, tmp_path / name)
    return tmp_path


def test_jobs_leave_the_records_of_this_machine(slurm, local, artifacts, figures):
    said = finish(submit(slurm, artifacts, **FOUR))
    assert "4 runs submitted to slurm" in said
    settle(figures, artifacts, local, submitted=4)


def test_a_cancelled_job_is_named_and_the_next_call_trains_it_alone(slurm, local, artifacts, figures):
    process = submit(slurm, artifacts, **FOUR)
    run = running(artifacts, process)
    ask(slurm, "scancel", job_of(slurm, artifacts, run))
    said = finish(process, code=1)
    assert "1 of 4 runs failed" in said and f"{run.name}: its job ended without a result: cancelled" in said
    ended = {path: path.read_bytes() for path in (artifacts / "runs").glob("*/run.json") if path.parent != run}
    assert len(ended) == 3 and {run_status(path.parent) for path in ended} == {"done"}
    assert "1 runs submitted" in finish(submit(slurm, artifacts, **FOUR))
    assert all(path.read_bytes() == content for path, content in ended.items())
    settle(figures, artifacts, local, submitted=5, cancelled=1)


def test_a_job_that_is_queued_again_goes_on(slurm, local, artifacts, figures):
    process = submit(slurm, artifacts, **FOUR)
    job = job_of(slurm, artifacts, running(artifacts, process))
    answer = ask(slurm, "scontrol", "requeue", job)
    assert not answer, answer
    do_not_wait(slurm, job)
    finish(process)
    assert restarts(slurm, job)
    settle(figures, artifacts, local, submitted=4, requeued=1)


def test_jobs_that_are_preempted_go_on(slurm, local, artifacts, figures):
    """A job of a partition that goes first takes every core; what it drove out is queued again by Slurm itself."""
    process = submit(slurm, artifacts, **FOUR)
    array = job_of(slurm, artifacts, running(artifacts, process)).split("_")[0]
    urgent = ["--partition=urgent", f"--cpus-per-task={os.cpu_count()}", f"--output={artifacts}/urgent.log"]
    answer = ask(slurm, "sbatch", "--wait", "--parsable", *urgent, "--wrap=true")
    assert answer.strip().isdigit(), answer
    jobs = [f"{array}_{place}" for place in range(4)]
    do_not_wait(slurm, *jobs)
    finish(process)
    preempted = sum(restarts(slurm, job) > 0 for job in jobs)
    assert preempted
    settle(figures, artifacts, local, submitted=4, preempted=preempted)


def test_a_job_at_its_time_limit_goes_on_from_its_checkpoint(slurm, local, artifacts, figures):
    """One run that takes longer than its job may; the same run is trained here meanwhile."""
    seconds = read_records([next((local / "runs").glob("smoke-alpha-0.1-Ses01F*"))]).history["seconds"].mean()
    long = {"MTLSER_EPOCHS": str(math.ceil(1.4 * 60 * LIMIT_MINUTES / seconds)), "MTLSER_ALPHAS": "0.1"}
    reference = artifacts / "reference"
    for name in ("corpora", "cache"):
        shutil.copytree(local / name, reference / name)
    here = start(reference, **long, MTLSER_FOLDS="Ses01F")
    job = {"timeout_min": LIMIT_MINUTES, "slurm_signal_delay_s": 30}
    process = submit(slurm, artifacts, job, **long, MTLSER_FOLDS="Ses01F")
    number = job_of(slurm, artifacts, running(artifacts, process))
    while process.poll() is None:
        if restarts(slurm, number) and "JobState=PENDING" in ask(slurm, "scontrol", "show", "job", number):
            do_not_wait(slurm, number)
        time.sleep(2)
    finish(process)
    finish(here)
    assert restarts(slurm, number)
    settle(figures, artifacts, reference, submitted=1, timed_out=1)
