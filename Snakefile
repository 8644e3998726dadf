# withstand: how robust image classifiers are, and why.
#
#   snakemake --cores all                                    the study of config.yaml
#   snakemake --cores all --configfile studies/<name>.yaml   another study, instead
#
# The rules lie in the order in which data flows: weights, images, predictions, tables, figures, report.
from snakemake.utils import min_version

min_version("9.25")

# a study given with --configfile replaces the demo; Snakemake would merge the two
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/models.smk"
include: "rules/datasets.smk"
include: "rules/perturbations.smk"
include: "rules/train.smk"
include: "rules/gates.smk"
include: "rules/inference.smk"
include: "rules/attacks.smk"
include: "rules/internals.smk"
include: "rules/tables.smk"
include: "rules/statistics.smk"
include: "rules/figures.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        dag.targets(),


rule downloads:
    input:
        dag.downloads(),


rule weights:
    input:
        dag.weights(),


onsuccess:
    this_run.record(config, "complete")
    print(this_run.outcome(), file=sys.stderr)


onerror:
    this_run.record(config, "failed")
