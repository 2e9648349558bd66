"""The layer is light: none of its modules imports torch or transformers, not even by way of others."""

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
import tenfold.llm, tenfold.llm.opening, tenfold.llm.many
assert "openai" not in sys.modules
names = [module.name for module in pkgutil.walk_packages(tenfold.llm.__path__, "tenfold.llm.")]
for name in names:
    importlib.import_module(name)
assert len(names) >= 9, names
print(*({"torch", "transformers", "numpy"} & set(sys.modules)))
"""


def test_no_module_imports_torch_or_transformers():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
