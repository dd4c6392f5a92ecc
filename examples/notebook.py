# %% [markdown]
# # From a data frame to a served model
#
# A notebook in percent format: VS Code, Spyder and Jupyter (with jupytext) open it as cells, Python runs it as a
# script. It needs `pip install 'fairlead[client]' pandas`, and an API: `make run`, or
# `kubectl port-forward --namespace fairlead service/fairlead-api 8000`. Where another one answers, and with which key,
# is said by the variables `FAIRLEAD_URL` and `FAIRLEAD_API_KEY`.

# %%
from pathlib import Path

import pandas as pd

from fairlead import Client, TrainingJob

fairlead = Client()
fairlead.health()

# %% [markdown]
# ## What can be trained

# %%
catalogue = fairlead.algorithms()
pd.DataFrame([{"algorithm": one.name, "task": one.task, "what": one.description} for one in catalogue.algorithms])

# %% [markdown]
# ## Train
#
# `submit` returns at once, and the training goes on if the notebook does not. Column names become feature names.

# %%
table = pd.read_csv(Path(__file__).parent / "data" / "breast_cancer.csv")
features, target = table.iloc[:, :-1], table.iloc[:, -1]


def show(job: TrainingJob) -> None:
    print(f"{job.state:<10} {job.percent:5.0f} %  {job.stage}")


job = fairlead.submit(
    features,
    target,
    algorithm="random_forest",
    hyperparameters={"n_estimators": 50},
    cross_validation=3,
    model_name="breast-cancer-notebook",
    alias="challenger",
)
trained = job.wait(progress=show)
pd.Series(trained.metrics)

# %% [markdown]
# ## Compare it with what was tried before

# %%
runs = fairlead.runs(order_by="metrics.f1 DESC").runs
pd.DataFrame([{"run": run.run_id[:8], "at": run.started_at, **run.metrics} for run in runs]).set_index("run")

# %% [markdown]
# ## Ask it
#
# It serves already. Rows are a data frame, an array, or dicts by feature name.

# %%
answer = fairlead.predict(features.head(), probabilities=True)
assert answer.run_id == trained.run_id
pd.DataFrame(answer.probabilities, columns=answer.classes).assign(prediction=answer.predictions)

# %% [markdown]
# ## Let it take over
#
# A ModelDeployment that follows the alias `champion` rolls to the version, tries it first if it is a canary, and
# `kubectl fairlead status NAME --watch` shows how that goes.

# %%
moved = fairlead.move_alias("breast-cancer-notebook", "champion", version=trained.model_version)
print(f"champion is version {moved.aliases['champion']}")

# %%
fairlead.close()
