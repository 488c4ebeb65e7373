# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A stand-in for the wandb server on this machine, for the real client to talk to.

It answers the GraphQL operations that runs, sweeps and agents need, hands out the points of a grid
one at a time, and keeps what the runs send.
"""

import contextlib
import gzip
import itertools
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

ENTITY = "lab"


class WandbServer(ThreadingHTTPServer):
    """``runs`` by id: what arrived of them (``history``: one dict a row); ``sweeps`` by id: config,
    project, points ``left``, and the points ``given`` by run id, with their agent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: dict[str, dict] = {}
        self.sweeps: dict[str, dict] = {}
        self.agents: dict[str, str] = {}
        self.operations: list[str] = []
        self.lock = threading.Lock()
        self.connections: list[socket.socket] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass  # a client that goes away in the middle is none of a test's business

    def die(self) -> None:
        """Stop answering and cut every connection, as a machine that went down."""
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def run(self, name: str) -> dict:
        return self.runs.setdefault(name, {"history": [], "summary": {}, "config": {}})

    def add_sweep(self, config: dict, project: str) -> str:
        points = points_of(config)
        sweep = f"sweep{len(self.sweeps)}"
        self.sweeps[sweep] = {"config": config, "project": project, "left": points, "given": {}}
        return sweep

    def add_agent(self, sweep: str) -> str:
        agent = f"agent{len(self.agents)}"
        self.agents[agent] = sweep
        return agent

    def next_command(self, agent: str, running: dict) -> list[dict]:
        """A point for an agent that has none, first those that were stopped; at the end "exit"."""
        name = self.agents[agent]
        sweep = self.sweeps[name]
        if running:
            return []
        given, program = sweep["given"], sweep["config"]["program"]
        if again := [run for run in given if self.run(run).pop("preempted", False)]:
            run, kind = again[0], "resume"
        elif sweep["left"]:
            run, kind = f"{name}run{len(given)}", "run"
            given[run] = {"agent": agent, "point": sweep["left"].pop(0)}
        else:
            return [{"type": "exit"}]
        args = {key: {"value": value} for key, value in given[run]["point"].items()}
        return [{"type": kind, "run_id": run, "program": program, "args": args}]


def points_of(config: dict) -> list[dict]:
    """The points of a grid; of a search, in place of draws, some that are spread evenly."""
    parameters = config["parameters"]
    if config["method"] == "grid":
        axes = [parameter["values"] for parameter in parameters.values()]
        return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*axes)]
    count = config["run_cap"]
    return [
        {name: between(entry, i / max(count - 1, 1)) for name, entry in parameters.items()}
        for i in range(count)
    ]


def between(entry: dict, share: float):
    """A value of a parameter, at a ``share`` of its range."""
    if "value" in entry:
        return entry["value"]
    if "values" in entry:
        return entry["values"][round(share * (len(entry["values"]) - 1))]
    return entry["min"] + share * (entry["max"] - entry["min"])


class Handler(BaseHTTPRequestHandler):
    """Its methods in capitals are GraphQL operations; an unknown one is answered with null."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections.append(self.connection)

    def log_message(self, *_):
        pass

    def answer(self, content: dict):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def do_GET(self):
        self.answer({})

    def do_PUT(self):  # an upload of a file
        self.body()
        self.answer({})

    def do_POST(self):
        asked = json.loads(self.body())
        with self.server.lock:
            if self.path == "/graphql":
                name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"]).group(1)
                self.server.operations.append(name)
                operation = getattr(self, name, lambda **_: None)
                self.answer({"data": operation(**(asked.get("variables") or {}))})
            else:
                name = self.path.split("/")[-2]
                self.file_stream(name, asked)
                self.answer({"stopped": True} if self.server.run(name).get("stopped") else {})

    def file_stream(self, name: str, asked: dict):
        run, sent = self.server.run(name), asked.get("files", {})
        if "wandb-history.jsonl" in sent:
            new = sent["wandb-history.jsonl"]
            run["history"][new["offset"] :] = map(json.loads, new["content"])
        if "wandb-summary.json" in sent:
            run["summary"] = json.loads(sent["wandb-summary.json"]["content"][-1])
        run["preempted"] = asked.get("preempting") or run.get("preempted", False)
        if asked.get("complete"):
            run["exit"] = asked["exitcode"]

    def Viewer(self, **_):  # noqa: N802
        viewer = {"id": "1", "entity": ENTITY, "username": "someone"}
        return {"viewer": {**viewer, "teams": {"edges": []}}}

    GetDefaultEntity = Viewer

    def UpsertBucket(self, name, project, config=None, sweep=None, **more):  # noqa: N802
        run = self.server.run(name)
        told = {"project": project, "sweep": sweep, **more}
        run |= {key: value for key, value in told.items() if value is not None}
        if config:
            run["config"] = {key: v["value"] for key, v in json.loads(config).items()}
        where = {"name": project, "entity": {"name": ENTITY}}
        bucket = {"id": name, "name": name, "displayName": more["displayName"], "project": where}
        bucket |= {"sweepName": sweep, "historyLineCount": len(run["history"])}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def RunResumeStatus(self, name, project, **_):  # noqa: N802
        if name not in self.server.runs:
            return {"model": {"id": "1", "name": project, "bucket": None}}
        run = self.server.runs[name]
        bucket = {"id": name, "name": name, "summaryMetrics": json.dumps(run["summary"])}
        bucket |= {"config": json.dumps({k: {"value": v} for k, v in run["config"].items()})}
        bucket |= {"historyLineCount": len(run["history"]), "logLineCount": 0}
        tail = [json.dumps(run["history"][-1])] if run["history"] else []
        bucket |= {"historyTail": json.dumps(tail), "eventsTail": "[]", "eventsLineCount": 0}
        bucket |= {"wandbConfig": json.dumps({"t": 1}), "displayName": run.get("displayName")}
        where = {"id": "1", "name": project, "entity": {"id": "1", "name": ENTITY}}
        return {"model": {**where, "bucket": bucket}}

    def CreateRunFiles(self, run, files, **_):  # noqa: N802
        urls = [{"name": f, "uploadUrl": f"{self.server.url}/{run}/{f}"} for f in files]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": urls}}

    def UpsertSweep(self, config, projectName, **_):  # noqa: N802
        name = self.server.add_sweep(yaml.safe_load(config), projectName)
        project = {"id": "1", "name": projectName, "entity": {"id": "1", "name": ENTITY}}
        sweep = {"name": name, "project": project}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def SweepWithRuns(self, sweep, **_):  # noqa: N802
        if sweep not in self.server.sweeps:
            return {"project": None}
        config = yaml.safe_dump(self.server.sweeps[sweep]["config"])
        runs = {"edges": []}
        return {"project": {"sweep": {"id": sweep, "name": sweep, "config": config, "runs": runs}}}

    def GetSweep(self, name, **_):  # noqa: N802
        return self.SweepWithRuns(name)

    def CreateAgent(self, sweep, **_):  # noqa: N802
        return {"createAgent": {"agent": {"id": self.server.add_agent(sweep)}}}

    def Heartbeat(self, id, runState, **_):  # noqa: N802
        commands = json.dumps(self.server.next_command(id, json.loads(runState)))
        return {"agentHeartbeat": {"agent": {"id": id}, "commands": commands}}
