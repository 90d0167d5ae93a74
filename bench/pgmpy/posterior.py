"""Fault posteriors of a noisy-OR network by pgmpy's variable elimination: the peer of `bench infer`.

Standard input: one JSON object with `services`, `edges` ([client, server, strength]), `prior`, `leak`,
`likelihood` ([normal, anomalous] per service) and `runs`. Standard output: `milliseconds` of each run and
the `fault` posteriors. Building the network is not timed; a run is one query per service.
"""

import itertools
import json
import sys
import time

from pgmpy.factors.discrete import TabularCPD
from pgmpy.inference import VariableElimination
from pgmpy.models import DiscreteBayesianNetwork


def build(task):
    services = range(task["services"])
    callees = {i: [] for i in services}
    for client, server, strength in task["edges"]:
        callees[client].append((server, strength))
    model = DiscreteBayesianNetwork()
    tables = []
    for i in services:
        model.add_nodes_from([f"F{i}", f"A{i}", f"S{i}"])
        model.add_edges_from([(f"F{i}", f"A{i}"), (f"A{i}", f"S{i}")])
        model.add_edges_from([(f"A{server}", f"A{i}") for server, _ in callees[i]])
        normal = []
        for fault, *states in itertools.product([0, 1], repeat=1 + len(callees[i])):
            value = (1 - task["leak"][i]) * (1 - fault)
            for state, (_, strength) in zip(states, callees[i]):
                value *= 1 - strength * state
            normal.append(value)
        parents = [f"F{i}"] + [f"A{server}" for server, _ in callees[i]]
        tables.append(TabularCPD(f"F{i}", 2, [[1 - task["prior"][i]], [task["prior"][i]]]))
        tables.append(
            TabularCPD(f"A{i}", 2, [normal, [1 - p for p in normal]], evidence=parents, evidence_card=[2] * len(parents))
        )
        low, high = (p / max(task["likelihood"][i]) for p in task["likelihood"][i])
        tables.append(TabularCPD(f"S{i}", 2, [[1 - low, 1 - high], [low, high]], evidence=[f"A{i}"], evidence_card=[2]))
    model.add_cpds(*tables)
    return model


def main():
    task = json.load(sys.stdin)
    inference = VariableElimination(build(task))
    evidence = {f"S{i}": 1 for i in range(task["services"])}
    milliseconds = []
    for _ in range(task["runs"]):
        start = time.perf_counter()
        fault = [
            float(inference.query([f"F{i}"], evidence=evidence, show_progress=False).values[1])
            for i in range(task["services"])
        ]
        milliseconds.append((time.perf_counter() - start) * 1000)
    json.dump({"milliseconds": milliseconds, "fault": fault}, sys.stdout)


main()
