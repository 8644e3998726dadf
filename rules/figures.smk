# Needs: results/{study}/tables/*.parquet and results/{study}/images/{dataset}/{family}/{shard}.h5
# Makes:
#   results/{study}/figures/{figure}-{dataset}.{svg,png,csv}    a figure, and the exact data drawn
#   results/{study}/figures/held_out.{svg,png,csv}              one of all datasets


rule draw_accuracy:
    input:
        table="results/{study}/tables/accuracy.parquet",
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
        "withstand draw {wildcards.figure} --table {input.table:q} --models {input.models:q}"
        " --dataset {wildcards.dataset:q} --style {params.style:q}"
        " --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"


use rule draw_accuracy as draw_shape_bias with:
    input:
        table="results/{study}/tables/shape_bias.parquet",
        models="results/{study}/tables/models.parquet",
    output:
        svg=report(
            "results/{study}/figures/{figure}-{dataset}.svg",
            caption="../workflow/report/shape_bias.rst",
            category="Shape and texture",
            labels={"figure": "{figure}", "dataset": "{dataset}"},
        ),
        png="results/{study}/figures/{figure}-{dataset}.png",
        data="results/{study}/figures/{figure}-{dataset}.csv",
    log:
        "results/{study}/logs/draw_shape_bias/{figure}.{dataset}.log",
    benchmark:
        "results/{study}/benchmarks/draw_shape_bias/{figure}.{dataset}.jsonl"
    wildcard_constraints:
        figure="shape_bias",


rule draw_held_out:
    input:
        table="results/{study}/tables/accuracy.parquet",
        models="results/{study}/tables/models.parquet",
    output:
        svg=report(
            "results/{study}/figures/held_out.svg",
            caption="../workflow/report/held_out.rst",
            category="Accuracy",
            labels={"figure": "held out", "dataset": "all"},
        ),
        png="results/{study}/figures/held_out.png",
        data="results/{study}/figures/held_out.csv",
    log:
        "results/{study}/logs/draw_held_out/held_out.log",
    benchmark:
        "results/{study}/benchmarks/draw_held_out/held_out.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        style=dag.figure_style,
        datasets=[f"--dataset={name}" for name in study.judged_by_accuracy()],
        code=figure_code("held_out"),
    message:
        "Drawing the accuracies on all datasets"
    shell:
        "withstand draw held_out --table {input.table:q} --models {input.models:q} {params.datasets:q}"
        " --style {params.style:q} --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"


rule draw_samples:
    input:
        dag.sampled_shard,
    output:
        svg=report(
            "results/{study}/figures/samples-{dataset}.svg",
            caption="../workflow/report/samples.rst",
            category="Images",
            labels={"figure": "samples", "dataset": "{dataset}"},
        ),
        png="results/{study}/figures/samples-{dataset}.png",
        data="results/{study}/figures/samples-{dataset}.csv",
    log:
        "results/{study}/logs/draw_samples/{dataset}.log",
    benchmark:
        "results/{study}/benchmarks/draw_samples/{dataset}.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        style=dag.resolution,
        code=code_digest("withstand.steps.draw:draw_samples"),
    message:
        "Drawing the sample sheet of {wildcards.dataset}"
    shell:
        "withstand draw-samples {input:q} --style {params.style:q}"
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
