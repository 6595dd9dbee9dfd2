"""Names of metrics follow Prometheus' conventions; rows of one name stand together and are of one kind."""
import re

from common import finish, problem, read


def main():
    rows = re.findall(r'X\((METRIC_\w+), METRIC_(COUNTER|GAUGE), "([^"]*)", "((?:[^"\\]|\\.)*)", "([^"]*)"\)', read("src/base/metric.h"))
    seen, last = {}, None
    for id_, kind, name, label, help_ in rows:
        if not re.fullmatch(r"dormouse_[a-z0-9_]+", name):
            problem(f"{id_}: name {name}")
        if name.endswith("_total") != (kind == "COUNTER"):
            problem(f"{id_}: {name}: counters, and only they, end in _total")
        if label and not re.fullmatch(r'[a-z_]+=\\"[a-z0-9_]+\\"', label):
            problem(f"{id_}: label {label}")
        if name in seen and last != name:
            problem(f"{id_}: rows of {name} do not stand together")
        if seen.get(name, kind) != kind:
            problem(f"{id_}: {name} is of two kinds")
        if (name not in seen) != bool(help_):
            problem(f"{id_}: {name}: help is given once, with the first row")
        seen[name] = kind
        last = name
    if len(rows) != read("src/base/metric.h").count("X(METRIC_"):
        problem("src/base/metric.h: a row is not understood")
    finish(f"{len(rows)} metrics")


main()
