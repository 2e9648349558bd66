"""Kills the pipeline at random moments, a hundred by default, and compares with a run that was left alone.

python tests/systems/glan/kill_many.py [KILLS] [SEED]
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_pipeline import grow_with_kills


def main(kills: int, seed: int) -> int:
    """Kills in several trees where one is finished before so many kills; 0 where everything is equal."""
    report = {"kills": 0, "trees": 0, "asked_again": 0, "identical": True}
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        whole.mkdir()
        digest, pairs, asked, _ = grow_with_kills(whole, 0, 0)
        while report["kills"] < kills:
            folder = Path(name) / str(report["trees"])
            folder.mkdir()
            result = grow_with_kills(folder, min(10, kills - report["kills"]), seed + report["trees"])
            report["kills"] += result[3]
            report["trees"] += 1
            report["asked_again"] += sum(result[2].values()) - len(asked)
            report["identical"] &= result[:2] == (digest, pairs) and set(result[2]) == set(asked)
    print(json.dumps(report))
    return 0 if report["identical"] else 1


if __name__ == "__main__":
    sys.exit(main(*(int(number) for number in (sys.argv[1:] + ["100", "0"][len(sys.argv) - 1 :]))))
