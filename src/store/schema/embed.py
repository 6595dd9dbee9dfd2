#!/usr/bin/env python3
"""embed.py OUT.c IN.sql... - the migrations as one C array, in the order given."""
import sys

with open(sys.argv[1], "w", encoding="ascii") as out:
    out.write('#include "store/migrate.h"\n\nconst char *const schema_versions[] = {\n')
    for path in sys.argv[2:]:
        for line in open(path, encoding="ascii"):
            text = line.rstrip("\n").replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
            out.write('\t"%s\\n"\n' % text)
        out.write("\t,\n")
    out.write("};\n\nconst unsigned n_schema_versions = %d;\n" % len(sys.argv[2:]))
