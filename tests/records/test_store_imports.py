"""What a store on SQLite does without."""

import subprocess
import sys
from pathlib import Path

OPENED = """
import sys
from pathlib import Path
from records.store import Store

store = Store.open("sqlite:///canary.db", Path(sys.argv[1]))
store.migrate()
store.close()
sys.exit("psycopg" in sys.modules)
"""


def test_a_store_on_sqlite_does_not_load_the_driver_of_postgresql(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", OPENED, str(tmp_path)], check=True)
