"""A real SLURM of one node for tests: munged, slurmctld and slurmd of the distribution, with pretended GPUs.

Nothing is installed as a service; everything is in one folder and ends with the test. Only /etc/slurm/slurm.conf and
gres.conf are linked into the system, since the executor's job step finds its configuration nowhere else; files that
are already there are never replaced.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "sinfo", "scontrol")
ETC = Path("/etc/slurm")


def why_not() -> str:
    """Return why SLURM cannot be started here; empty if it can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"SLURM is not installed ({', '.join(missing)}): apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "only root may start slurmd"
    taken = [
        name
        for name in ("slurm.conf", "gres.conf")
        if (ETC / name).exists() and not (ETC / name).is_symlink()
    ]
    return f"{ETC} holds this machine's own {', '.join(taken)}" if taken else ""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _end_with_parent() -> None:
    # PR_SET_PDEATHSIG: a killed test run leaves no daemon behind
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class OneNodeSlurm:
    """Partitions `cpu` and `gpu` on one node that claims 16 cores, 64 GB and 2 GPUs.

    Parameters
    ----------
    folder : Path
        For sockets, state and logs.
    node_command : sequence of str
        Put before slurmd's own command line, e.g. to give the node mounts of its own.
    """

    def __init__(self, folder: Path, node_command: Sequence[str] = ()) -> None:
        self.folder, self._node_command = folder, list(node_command)
        self.host = socket.gethostname().split(".")[0]
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self) -> OneNodeSlurm:
        # the links in /etc/slurm are the machine's: a second test run waits for the first
        ETC.mkdir(exist_ok=True)
        self._turn = os.open(ETC / ".pathduet-test.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        for name in ("state", "spool", "logs"):
            (self.folder / name).mkdir(exist_ok=True)
        self._write_configuration()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(512))
        key.chmod(0o400)
        try:
            self._start(
                "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.folder / 'munge.socket'}",
                f"--pid-file={self.folder / 'munged.pid'}", f"--seed-file={self.folder / 'munge.seed'}",
                f"--log-file={self.folder / 'logs/munge.log'}",
            )  # fmt: skip
            self.start_controller()
            self._start("slurmd", "-D", "-N", self.host, before=self._node_command)
            self._wait_until_idle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("slurmd", "slurmctld", "munged"):
            self._stop(name)
        for name in ("slurm.conf", "gres.conf"):
            link = ETC / name
            if link.is_symlink() and link.readlink() == self.folder / name:
                link.unlink()
        os.close(self._turn)

    def start_controller(self) -> None:
        """Start slurmctld; it takes up the state of the one before."""
        self._start("slurmctld", "-D")

    def restart_controller(self, pause: float) -> None:
        """Stop slurmctld (it saves its state) and start it again after `pause` seconds."""
        self._stop("slurmctld")
        time.sleep(pause)
        self.start_controller()

    def jobs(self) -> list[dict[str, str]]:
        """Return all jobs that the controller still knows, ended ones too; none while it does not answer."""
        fields = {
            "id": "%i",
            "partition": "%P",
            "gres": "%b",
            "state": "%T",
            "rule": "%k",
            "limit": "%l",
            "memory": "%m",
        }
        found = subprocess.run(
            ["squeue", "--noheader", "--states=all", "--format", "|".join(fields.values())],
            capture_output=True, text=True, env=self.environment,
        )  # fmt: skip
        return [dict(zip(fields, line.split("|"))) for line in found.stdout.splitlines()]

    def cancel(self, job: str) -> None:
        """Cancel a job as a user would."""
        subprocess.run(["scancel", job], check=True, env=self.environment)

    def cancel_all(self) -> None:
        """Cancel everything."""
        for job in self.jobs():
            if job["state"] in ("PENDING", "RUNNING"):
                subprocess.run(["scancel", job["id"]], check=False, env=self.environment)

    def _write_configuration(self) -> None:
        devices = self.folder / "gpu"
        for i in range(2):
            # a device file that takes everything, as /dev/null does
            os.mknod(self.folder / f"gpu{i}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        controller, node_port = free_ports(2)
        lines = {
            "ClusterName": "one", "SlurmctldHost": f"{self.host}(127.0.0.1)", "SlurmUser": "root", "SlurmdUser": "root",
            "AuthType": "auth/munge", "AuthInfo": f"socket={self.folder / 'munge.socket'}",
            "SlurmctldPort": controller, "SlurmdPort": node_port,
            "StateSaveLocation": self.folder / "state", "SlurmdSpoolDir": self.folder / "spool",
            "SlurmctldPidFile": self.folder / "slurmctld.pid", "SlurmdPidFile": self.folder / "slurmd.pid",
            "ProctrackType": "proctrack/linuxproc", "TaskPlugin": "task/none", "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none", "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory", "SchedulerParameters": "batch_sched_delay=0,sched_interval=1",
            "SlurmdParameters": "config_overrides", "ReturnToService": "2", "KillWait": "2", "MinJobAge": "600",
            "MailProg": "/bin/true", "GresTypes": "gpu",
        }  # fmt: skip
        node = (
            f"NodeName={self.host} NodeAddr=127.0.0.1 Port={node_port} CPUs=16 Boards=1 SocketsPerBoard=1 CoresPerSocket=16 ThreadsPerCore=1 "
            "RealMemory=64000 Gres=gpu:2 State=UNKNOWN"
        )
        partitions = [
            f"PartitionName={name} Nodes={self.host} MaxTime=1-0 State=UP" for name in ("cpu", "gpu")
        ]
        text = "\n".join([*(f"{key}={value}" for key, value in lines.items()), node, *partitions]) + "\n"
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName={self.host} Name=gpu File={devices}[0-1]\n"
        )
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)
            (ETC / name).symlink_to(self.folder / name)

    def _start(self, name: str, *arguments: str, before: Sequence[str] = ()) -> None:
        program = shutil.which(name)
        assert program is not None
        with (self.folder / f"logs/{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [*before, program, *arguments], stdout=log, stderr=subprocess.STDOUT, env=self.environment,
                preexec_fn=_end_with_parent,
            )  # fmt: skip

    def _stop(self, name: str) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.terminate()
        try:
            daemon.wait(timeout=20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _wait_until_idle(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = subprocess.run(
                ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, env=self.environment
            )
            if set(found.stdout.split()) == {"idle"}:
                return
            time.sleep(0.2)
        logs = "\n".join(path.read_text()[-1500:] for path in (self.folder / "logs").glob("*.out"))
        raise RuntimeError(f"SLURM did not come up:\n{logs}")
