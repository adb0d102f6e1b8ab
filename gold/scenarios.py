"""Gold of streaming scenarios: cases/scenarios/FAMILY.py -> scenarios/FAMILY.json.

A scenario is a program over streams of JSON files, fed step by step: in every step each stream gets one new file, or
none, and the query works until it is idle. It is run twice: as one query that lives through all steps, and with a
restart from the checkpoint after every step. Every micro-batch is recorded.

    python gold/scenarios.py [--changed] [FAMILY ...]      all families, or these; only scenarios that run differently now
"""

import importlib.util
import json
import re
import sys
import time

import dataframe
from goldlib import HERE, collect, conf_set, error_of, message_of, session, stop
from pyspark.errors import PySparkException, StreamingQueryException

CASES, OUT = HERE / "cases/scenarios", HERE / "scenarios"
# The same rows with less work: no shell per checkpoint file, no code generated for a handful of rows.
QUICK = {
    "spark.sql.streaming.checkpointFileManagerClass":
        "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}

def running_count(key, frames, state):
    """Counts the rows of a key. Its state times out 10 s behind its newest row, if states time out."""
    import pandas

    def said(n, what):
        return pandas.DataFrame({"k": [key[0]], "n": [n], "what": [what]})

    if state.hasTimedOut:
        n = state.get[0]
        state.remove()
        yield said(n, "gone")
        return
    rows = pandas.concat(list(frames))
    n = len(rows) + (state.get[0] if state.exists else 0)
    state.update((n,))
    if state._timeout_conf == "EventTimeTimeout":
        # A deadline before the watermark is an error.
        deadline = int(rows["ts"].max().timestamp() * 1000) + 10_000
        state.setTimeoutTimestamp(max(deadline, state.getCurrentWatermarkMs() + 1))
    yield said(n, "here")


FUNCTIONS = {"running_count": (running_count, "k STRING, n BIGINT, what STRING", "n BIGINT")}


def build(spark, program, mode):
    if isinstance(program, str):
        return spark.sql(program)
    frame = None
    for method, *args in program:
        if method == "flat_map_groups_with_state":
            keys, function, timeout = args
            function, output, state = FUNCTIONS[function]
            frame = frame.groupBy(*keys).applyInPandasWithState(function, output, state, mode, timeout)
        else:
            frame = dataframe.step(spark, frame, method, args)
    return frame


class Run:
    """One life of a scenario: its files, its checkpoint, and what its batches did."""

    def __init__(self, spark, case, folder):
        self.spark, self.case, self.folder = spark, case, folder
        self.rows, self.query = {}, None
        for name in case["sources"]:
            (folder / name).mkdir(parents=True)

    def feed(self, number, step):
        staged = []
        for name, rows in step.items():
            columns = [column.split()[0] for column in self.case["sources"][name].split(",")]
            file = self.folder / f".{name}-{number:02}.json"
            lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows]
            file.write_text("".join(lines), encoding="utf-8")
            staged.append((file, self.folder / name / f"{number:02}.json"))
        # No batch is cut while its lock is held, so that the files of a step come in one batch.
        lock = self.query._jsq.streamingQuery().awaitProgressLock() if self.query else None
        if lock:
            lock.lock()
        for file, place in staged:
            file.rename(place)
        if lock:
            lock.unlock()

    def start(self):
        spark, case = self.spark, self.case
        for name, sql in case.get("tables", {}).items():
            spark.sql(sql).createOrReplaceTempView(name)
        for name, ddl in case["sources"].items():
            spark.readStream.schema(ddl).json(str(self.folder / name)).createOrReplaceTempView(name)
        frame = build(spark, case.get("instead", case["program"]), case["mode"])
        self.schema = [[f["name"], frame._jdf.schema().apply(i).dataType().catalogString()]
                       for i, f in enumerate(json.loads(frame._jdf.schema().json())["fields"])]

        def keep(batch, batch_id):
            self.rows[batch_id] = collect(batch)[1]

        writer = frame.writeStream.outputMode(case["mode"]).foreachBatch(keep)
        self.query = writer.option("checkpointLocation", str(self.folder / "checkpoint")).start()

    def batches(self, step):
        """What ran since the last call, in order."""
        progress = {}
        for entry in map(lambda p: json.loads(p.json()), self.query._jsq.recentProgress()):
            if "addBatch" in entry["durationMs"]:
                progress.setdefault(entry["batchId"], entry)
        found, n_fed = [], 0
        for batch_id in sorted(self.rows):
            entry = progress[batch_id]
            n_fed += any(s["startOffset"] != s["endOffset"] for s in entry["sources"])
            rows = self.rows.pop(batch_id)
            batch = {"batch": batch_id, "in": entry["numInputRows"], "watermark": entry.get("eventTime", {}).get("watermark")}
            batch["rows"] = rows if self.case.get("ordered") else sorted(rows, key=json.dumps)
            batch["operators"] = [
                [o["operatorName"]] + [o[f"numRows{n}"] for n in ("Total", "Updated", "Removed", "DroppedByWatermark")]
                for o in entry["stateOperators"]
            ]
            found.append(batch)
        assert n_fed == bool(step), f"{self.case['id']}: the files of a step came in {n_fed} batches"
        return found

    def stop(self):
        if self.query is not None:
            self.query.stop()
            self.query = None


def life(spark, case, folder, restarts):
    """(columns, the batches of every step); the last step may end with an error."""
    run, steps = Run(spark, case, folder), []
    with conf_set(spark, QUICK | case.get("conf", {})):
        try:
            for number, step in enumerate(case["steps"]):
                run.feed(number, step)
                if run.query is None:
                    run.start()
                try:
                    run.query.processAllAvailable()
                except StreamingQueryException as problem:
                    steps.append([{"error": conditions(problem)}])
                    break
                steps.append(run.batches(step))
                if restarts:
                    run.stop()
        finally:
            run.stop()
    return run.schema, steps


def conditions(problem):
    """Also those that only the text of a failed query names: an error in the rows that foreachBatch reads."""
    named = re.findall(r"\[([A-Z][A-Z0-9_]+(?:\.[A-Z0-9_]+)*)\]", problem._origin.getMessage())
    return list(dict.fromkeys(error_of(problem) + named))


def answer(spark, case, folder):
    try:
        schema, live = life(spark, case, folder / "live", False)
    except PySparkException as problem:
        return {**case, "refused": error_of(problem), "message": message_of(problem)}
    if "names" in case:
        # Some refusals come only when the first batch is planned.
        [[first]] = live
        return {**case, "refused": first["error"], "message": "when it runs"}
    _, restart = life(spark, case, folder / "restart", True)
    return {**case, "schema": schema, "live": live, "restart": "as live" if restart == live else restart}


def text(cases):
    """JSON with one line for a batch of input or output, so that a change reads well."""
    def lines(value, depth):
        one = json.dumps(value, ensure_ascii=False)
        if depth == 0 or len(one) < 100 or not isinstance(value, (dict, list)):
            return one
        pad = " " * (4 - depth)
        if isinstance(value, dict):
            inner = [f"{pad}{json.dumps(k)}: {lines(v, depth - 1)}" for k, v in value.items()]
        else:
            inner = [pad + lines(v, depth - 1) for v in value]
        ends = "{}" if isinstance(value, dict) else "[]"
        return ends[0] + "\n" + ",\n".join(inner) + "\n" + pad[1:] + ends[1]
    return "[\n" + ",\n".join(lines(case, 3) for case in cases) + "\n]\n"


def load(family):
    spec = importlib.util.spec_from_file_location(family, CASES / f"{family}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


# What Spark sees of a case, and what it says to it.
SEEN = ("sources", "tables", "program", "mode", "conf", "steps", "ordered", "instead")
SAID = ("refused", "message", "schema", "live", "restart")


def kept(case, before):
    """The recorded answer, if it was an answer to this."""
    if before and all(json.loads(json.dumps(case.get(key))) == before.get(key) for key in SEEN):
        return {**case, **{key: before[key] for key in SAID if key in before}}
    return None


def generate(spark, families=(), only_changed=False):
    sys.path.insert(0, str(CASES))
    OUT.mkdir(exist_ok=True)
    for family in families or sorted(path.stem for path in CASES.glob("*.py") if path.stem != "scenario"):
        file, answers, began = OUT / f"{family}.json", [], time.monotonic()
        recorded = json.loads(file.read_text(encoding="utf-8")) if only_changed and file.exists() else []
        recorded = {before["id"]: before for before in recorded}
        for case in load(family):
            case = {**case, "id": f"{family}-{case['id']}"}
            last = kept(case, recorded.get(case["id"]))
            if last is None:
                last = answer(spark, case, spark.scratch / "scenarios" / case["id"])
                print(f"  {case['id']}: {last.get('refused') or ('' if last['restart'] == 'as live' else 'restart differs')}", flush=True)
            answers.append(last)
        assert len({a["id"] for a in answers}) == len(answers), f"an id stands twice in {family}"
        file.write_text(text(answers), encoding="utf-8")
        print(f"scenarios/{family}.json: {len(answers)} in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    spark = session()
    try:
        words = sys.argv[1:]
        generate(spark, [word for word in words if word != "--changed"], "--changed" in words)
    finally:
        stop(spark)
