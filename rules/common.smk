# Needs: the config. Makes: the checked study, and what all rules share: environment, constraints, input functions.
#
# Everything lies at
#   results/downloads/{source}/{archive}                         shared between studies
#   results/weights/{weights}.safetensors                        shared between studies
#   results/{study}/models/{model}.json                          model cards
#   results/{study}/images/{dataset}/{family}/{shard}.h5         `clean` is a family
#   results/{study}/predictions/{model}/{dataset}/{family}.parquet
#   results/{study}/attacks/{model}/{attack}.h5                   perturbations; transfer/ and spatial/ beside them
#   results/{study}/internals/{model}/{kind}.{h5,parquet}         what is measured inside of models
#   results/{study}/tables/{table}.parquet                       and tables/accuracy/{model}.parquet
#   results/{study}/figures/{figure}-{dataset}.{svg,png,csv}
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from withstand import cards, devices, published
from withstand.config import load_study, read_config
from withstand.dag import Dag, alternatives, figure_code
from withstand.environment import use_environment
from withstand.errors import WithstandError
from withstand.provenance import code_digest
from withstand.run import Run

# as many jobs with a GPU as there are GPUs, unless the user says how many; without any, jobs run side by side. The GPUs
# of a login node say nothing of those that its cluster has (only jobs for other machines are counted as nodes)
is_local = workflow.resource_settings.nodes is None
if is_local and cards.at_hand() and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", cards.at_hand())

try:
    for path in workflow.configfiles:
        read_config(Path(path))
    study = load_study(config)
    dag = Dag(study)
    image = use_environment({str(method) for method in workflow.deployment_settings.deployment_method})
    this_run = Run(study.study)
    if workflow.is_main_process:
        this_run.watch(workflow, dag.shared())
    else:
        this_run.check_job()
        granted = workflow.global_resources.get("gpu")
        devices.use_grant(granted.value if granted else 0)
except WithstandError as error:
    raise WorkflowError(str(error)) from None


# with --sdm apptainer
container: image


wildcard_constraints:
    study=re.escape(study.study),
    model=alternatives(study.models),
    dataset=alternatives(study.datasets),
    family=alternatives(["clean", *study.families]),
    shard=r"\d{4}",
