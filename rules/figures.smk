# Needs: results/{study}/tables/*.parquet and results/{study}/images/{dataset}/{family}/{shard}.h5
# Makes:
#   results/{study}/figures/{figure}-{dataset}.{svg,png,csv}    a figure, and the exact data drawn; of results under
#                                                               another policy {figure}-{dataset}.{policy}.*
#   results/{study}/figures/held_out.{svg,png,csv}              one of all datasets
#   results/{study}/figures/{figure}.*, {figure}-{attack}.*     of attacks
#   results/{study}/figures/{figure}.*, {figure}-{family}.*     of the inside of models
#   results/{study}/figures/{overview,scaling,claims}.*         of the whole study
#   results/{study}/figures/{calibration,comparisons}-{dataset}.*, disagreements-{dataset}.*


rule draw_accuracy:
    input:
        table="results/{study}/tables/accuracy.parquet",
        models="results/{study}/tables/models.parquet",
        published=dag.statistics.published,
    output:
        svg=report(
            "results/{study}/figures/{figure}-{dataset}{policy}.svg",
            caption="../workflow/report/accuracy.rst",
            category="Accuracy",
            labels={"figure": "{figure}", "dataset": "{dataset}"},
        ),
        png="results/{study}/figures/{figure}-{dataset}{policy}.png",
        data="results/{study}/figures/{figure}-{dataset}{policy}.csv",
    log:
        "results/{study}/logs/draw_accuracy/{figure}.{dataset}{policy}.log",
    benchmark:
        "results/{study}/benchmarks/draw_accuracy/{figure}.{dataset}{policy}.jsonl"
    wildcard_constraints:
        figure="accuracy_by_severity|clean_against_corrupted",
        policy=r"|\.corrupt_after_resize|\.published",
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        style=dag.figure_style,
        published=dag.statistics.published_options,
        policy=dag.figure_policy,
        code=dag.figure_code,
    message:
        "Drawing {wildcards.figure} of {wildcards.dataset}"
    shell:
        "withstand draw {wildcards.figure} --table {input.table:q} --models {input.models:q} {params.published:q}"
        " --dataset {wildcards.dataset:q} --policy {params.policy} --style {params.style:q}"
        " --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"


use rule draw_accuracy as draw_shape_bias with:
    input:
        table="results/{study}/tables/shape_bias.parquet",
        models="results/{study}/tables/models.parquet",
        published=dag.statistics.published,
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
    localrule: True


use rule draw_accuracy as draw_compared with:
    input:
        table="results/{study}/tables/{figure}.parquet",
        models="results/{study}/tables/models.parquet",
        published=dag.statistics.published,
    output:
        svg=report(
            "results/{study}/figures/{figure}-{dataset}{policy}.svg",
            caption="../workflow/report/statistics.rst",
            category="Statistics",
            labels={"figure": "{figure}", "dataset": "{dataset}"},
        ),
        png="results/{study}/figures/{figure}-{dataset}{policy}.png",
        data="results/{study}/figures/{figure}-{dataset}{policy}.csv",
    log:
        "results/{study}/logs/draw_compared/{figure}.{dataset}{policy}.log",
    benchmark:
        "results/{study}/benchmarks/draw_compared/{figure}.{dataset}{policy}.jsonl"
    wildcard_constraints:
        figure="calibration|comparisons",
        policy=r"|\.corrupt_after_resize|\.published",
    localrule: True


rule draw_study:
    input:
        table=dag.statistics.figure_table,
        models="results/{study}/tables/models.parquet",
        published=dag.statistics.published,
    output:
        svg=report(
            "results/{study}/figures/{figure}.svg",
            caption="../workflow/report/statistics.rst",
            category="Statistics",
            labels={"figure": "{figure}", "dataset": "all"},
        ),
        png="results/{study}/figures/{figure}.png",
        data="results/{study}/figures/{figure}.csv",
    log:
        "results/{study}/logs/draw_study/{figure}.log",
    benchmark:
        "results/{study}/benchmarks/draw_study/{figure}.jsonl"
    wildcard_constraints:
        figure="overview|scaling|claims|reproduction",
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        style=dag.figure_style,
        published=dag.statistics.published_options,
        datasets=dag.statistics.figure_datasets,
        code=dag.figure_code,
    message:
        "Drawing {wildcards.figure}"
    shell:
        "withstand draw {wildcards.figure} --table {input.table:q} --models {input.models:q} {params.published:q}"
        " {params.datasets:q} --style {params.style:q} --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"


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


rule draw_disagreements:
    input:
        images=dag.statistics.shards,
        answers=dag.statistics.answers_of_pair,
        predictions=dag.statistics.predictions_of_pair,
    output:
        svg=report(
            "results/{study}/figures/disagreements-{dataset}.svg",
            caption="../workflow/report/disagreements.rst",
            category="Images",
            labels={"figure": "disagreements", "dataset": "{dataset}"},
        ),
        png="results/{study}/figures/disagreements-{dataset}.png",
        data="results/{study}/figures/disagreements-{dataset}.csv",
    log:
        "results/{study}/logs/draw_disagreements/{dataset}.log",
    benchmark:
        "results/{study}/benchmarks/draw_disagreements/{dataset}.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        style=dag.figure_style,
        code=code_digest("withstand.steps.draw_disagreements:draw_disagreements"),
    message:
        "Drawing images of {wildcards.dataset} on which two models disagree"
    shell:
        "withstand draw-disagreements {input.images:q} --first {input.answers[0]:q} --second {input.answers[1]:q}"
        " --first-predictions {input.predictions[0]:q} --second-predictions {input.predictions[1]:q}"
        " --style {params.style:q} --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"


rule draw_corruptions:
    input:
        dag.sampled_shard,
    output:
        svg=report(
            "results/{study}/figures/corruptions-{dataset}.svg",
            caption="../workflow/report/corruptions.rst",
            category="Images",
            labels={"figure": "corruptions", "dataset": "{dataset}"},
        ),
        png="results/{study}/figures/corruptions-{dataset}.png",
        data="results/{study}/figures/corruptions-{dataset}.csv",
    log:
        "results/{study}/logs/draw_corruptions/{dataset}.log",
    benchmark:
        "results/{study}/benchmarks/draw_corruptions/{dataset}.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        corruptions=dag.all_corruptions,
        seed=study.seed,
        style=dag.resolution,
        code=dag.gallery_code(),
    message:
        "Drawing every corruption of an image of {wildcards.dataset}"
    shell:
        "withstand draw-corruptions {input:q} --corruptions {params.corruptions:q} --seed {params.seed}"
        " --style {params.style:q} --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"


rule draw_attacks:
    input:
        table=dag.attacks.table,
        models="results/{study}/tables/models.parquet",
        published=dag.statistics.published,
    output:
        svg=report(
            "results/{study}/figures/{figure}.svg",
            caption="../workflow/report/attacks.rst",
            category="Attacks",
            labels={"figure": "{figure}", "attack": "all"},
        ),
        png="results/{study}/figures/{figure}.png",
        data="results/{study}/figures/{figure}.csv",
    log:
        "results/{study}/logs/draw_attacks/{figure}.log",
    benchmark:
        "results/{study}/benchmarks/draw_attacks/{figure}.jsonl"
    wildcard_constraints:
        figure="attacks|patch_alignment|spatial|spatial_landscape",
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        style=dag.figure_style,
        published=dag.statistics.published_options,
        chosen=dag.attacks.figure_options,
        code=dag.figure_code,
    message:
        "Drawing {wildcards.figure}"
    shell:
        "withstand draw {wildcards.figure} --table {input.table:q} --models {input.models:q} {params.published:q}"
        " {params.chosen:q} --style {params.style:q}"
        " --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"


use rule draw_attacks as draw_transfer with:
    input:
        table="results/{study}/tables/transfer.parquet",
        models="results/{study}/tables/models.parquet",
        published=dag.statistics.published,
    output:
        svg=report(
            "results/{study}/figures/{figure}-{attack}.svg",
            caption="../workflow/report/attacks.rst",
            category="Attacks",
            labels={"figure": "{figure}", "attack": "{attack}"},
        ),
        png="results/{study}/figures/{figure}-{attack}.png",
        data="results/{study}/figures/{figure}-{attack}.csv",
    log:
        "results/{study}/logs/draw_transfer/{figure}.{attack}.log",
    benchmark:
        "results/{study}/benchmarks/draw_transfer/{figure}.{attack}.jsonl"
    wildcard_constraints:
        figure="transfer",
        attack=alternatives(dag.attacks.perturbations()),
    localrule: True
    message:
        "Drawing the transfer of {wildcards.attack} between models"


rule draw_perturbations:
    input:
        perturbations=dag.attacks.all_perturbations,
        table="results/{study}/tables/patch_alignment.parquet",
        models="results/{study}/tables/models.parquet",
    output:
        svg=report(
            "results/{study}/figures/perturbations-{attack}.svg",
            caption="../workflow/report/perturbations.rst",
            category="Attacks",
            labels={"figure": "perturbations", "attack": "{attack}"},
        ),
        png="results/{study}/figures/perturbations-{attack}.png",
        data="results/{study}/figures/perturbations-{attack}.csv",
    log:
        "results/{study}/logs/draw_perturbations/{attack}.log",
    benchmark:
        "results/{study}/benchmarks/draw_perturbations/{attack}.jsonl"
    wildcard_constraints:
        attack=alternatives(dag.attacks.perturbations()),
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        style=dag.figure_style,
        code=code_digest("withstand.steps.draw:draw_perturbations"),
    message:
        "Drawing the perturbations of {wildcards.attack}"
    shell:
        "withstand draw-perturbations {input.perturbations:q} --table {input.table:q} --models {input.models:q}"
        " --style {params.style:q} --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"


rule draw_internals:
    input:
        table=dag.internals.figure_table,
        models="results/{study}/tables/models.parquet",
        published=dag.statistics.published,
    output:
        svg=report(
            "results/{study}/figures/{figure}.svg",
            caption="../workflow/report/internals.rst",
            category="Inside the models",
            labels={"figure": "{figure}", "images": "clean"},
        ),
        png="results/{study}/figures/{figure}.png",
        data="results/{study}/figures/{figure}.csv",
    log:
        "results/{study}/logs/draw_internals/{figure}.log",
    benchmark:
        "results/{study}/benchmarks/draw_internals/{figure}.jsonl"
    wildcard_constraints:
        figure=alternatives(dag.internals.kinds()),
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        style=dag.figure_style,
        published=dag.statistics.published_options,
        chosen=dag.internals.figure_options,
        code=dag.figure_code,
    message:
        "Drawing {wildcards.figure}"
    shell:
        "withstand draw {wildcards.figure} --table {input.table:q} --models {input.models:q} {params.published:q}"
        " {params.chosen:q} --style {params.style:q}"
        " --svg {output.svg:q} --png {output.png:q} --data {output.data:q} > {log:q} 2>&1"


use rule draw_internals as draw_internals_corrupted with:
    output:
        svg=report(
            "results/{study}/figures/{figure}-{family}.svg",
            caption="../workflow/report/internals.rst",
            category="Inside the models",
            labels={"figure": "{figure}", "images": "{family}"},
        ),
        png="results/{study}/figures/{figure}-{family}.png",
        data="results/{study}/figures/{figure}-{family}.csv",
    log:
        "results/{study}/logs/draw_internals_corrupted/{figure}.{family}.log",
    benchmark:
        "results/{study}/benchmarks/draw_internals_corrupted/{figure}.{family}.jsonl"
    localrule: True
    message:
        "Drawing {wildcards.figure} of {wildcards.family}"
