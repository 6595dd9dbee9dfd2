"""Events have ids of their own and an entry in the journal's catalog that tells the operator what to do."""
import collections
import re

from common import events, finish, problem, read


def catalog():
    """message id -> (fields, text) of systemd/dormouse.catalog."""
    entries = {}
    for part in re.split(r"^-- (?=[0-9a-f]{32}$)", read("systemd/dormouse.catalog"), flags=re.M)[1:]:
        id_, _, rest = part.partition("\n")
        head, _, text = rest.partition("\n\n")
        if id_ in entries:
            problem(f"systemd/dormouse.catalog: {id_} stands twice")
        entries[id_] = (dict(line.split(": ", 1) for line in head.splitlines() if ": " in line), text.strip())
    return entries


def main():
    rows = events()
    entries = catalog()
    if not rows:
        problem("src/base/events.h: no rows found")
    for column, what in enumerate(("name", "slug", "message id")):
        for value, n in collections.Counter(row[column] for row in rows).items():
            if n > 1:
                problem(f"src/base/events.h: {what} {value} stands {n} times")
    for name, slug, id_ in rows:
        if not re.fullmatch(r"[0-9a-f]{32}", id_):
            problem(f"src/base/events.h: {name}: {id_} is no message id")
        if not re.fullmatch(r"[a-z]+(-[a-z]+)*", slug):
            problem(f"src/base/events.h: {name}: slug {slug!r}")
        if name == "EV_GENERIC":
            continue  # plain lines of the log carry no id
        fields, text = entries.pop(id_, ({}, ""))
        if not fields.get("Subject") or fields.get("Defined-By") != "Dormouse":
            problem(f"systemd/dormouse.catalog: {name} ({id_}): no entry with Subject and \"Defined-By: Dormouse\"")
        if len(text) < 40:
            problem(f"systemd/dormouse.catalog: {name} ({id_}): the text does not say what to do")
    for id_ in entries:
        problem(f"systemd/dormouse.catalog: {id_} belongs to no event")
    finish(f"{len(rows)} events")


main()
