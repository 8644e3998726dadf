# Needs: results/{study}/tables/*.parquet and results/{study}/images/{dataset}/{family}/{shard}.h5
# Makes:
#   results/{study}/figures/{figure}-{dataset}.{svg,png,csv}    a figure, and the exact data drawn


rule draw_accuracy:
    input:
        accuracy="results/{study}/tables/accuracy.parquet",
        models="results/{study}/tables/models.parquet",
    output:
        svg=report(
            "results/{study}/figures/{figure}-{dataset}.svg",
            caption="../workflow/report/accuracy.rst",
            category="Accuracy",
            labels={"figure": "{figure}", "dataset": "{dataset}"},
        ),
        png="results/{study}/figures/{figure}-{dataset}.png",
        data="results/{study}/figures/{figure}-{dataset}.csv",
    log:
        "results/{study}/logs/draw_accuracy/{figure}.{dataset}.log",
    benchmark:
        "results/{study}/benchmarks/draw_accuracy/{figure}.{dataset}.jsonl"
    wildcard_constraints:
        figure="accuracy_by_severity|clean_against_corrupted",
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        style=dag.figure_style,
        code=dag.figure_code,
    message:
        "Drawing {wildcards.figure} of {wildcards.dataset}"
    shell:
        "withstand draw {wildcards.figure} --accuracy {input.accuracy:q} --models {input.models:q}"
        " --dataset {wildcards.dataset:q} --style {params.style:q}"
        " --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"


rule draw_perturbations:
    input:
        dag.drawn_shards,
    output:
        svg=report(
            "results/{study}/figures/perturbations-{dataset}.svg",
            caption="../workflow/report/perturbations.rst",
            category="Images",
            labels={"figure": "perturbations", "dataset": "{dataset}"},
        ),
        png="results/{study}/figures/perturbations-{dataset}.png",
        data="results/{study}/figures/perturbations-{dataset}.csv",
    log:
        "results/{study}/logs/draw_perturbations/{dataset}.log",
    benchmark:
        "results/{study}/benchmarks/draw_perturbations/{dataset}.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        style=dag.resolution,
        code=code_digest("withstand.steps.draw:draw_perturbations"),
    message:
        "Drawing the perturbations of {wildcards.dataset}"
    shell:
        "withstand draw-perturbations {input:q} --style {params.style:q}"
        " --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"
