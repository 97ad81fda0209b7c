"""asv's benchmark classes. What measures is the harness, `rollout_bench`, of this checkout.

asv's environments hold the system under test alone.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from rollout_bench.measure.asv_process import end_server_with_asv

end_server_with_asv()
