import subprocess
import sys


def test_the_loader_starts_without_model_libraries() -> None:
    """What a pod waits for before the first byte is fetched."""
    program = (
        "import sys, fairlead_service.loading.__main__, fairlead_service.training.__main__;"
        "print([name for name in ('mlflow', 'sklearn', 'skops', 'pandas', 'scipy', 'joblib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
