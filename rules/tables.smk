# Needs: results/{study}/predictions/{model}/{dataset}/{family}.parquet and results/{study}/models/{model}.json
# Makes:
#   results/{study}/tables/{accuracy,calibration}/{model}.parquet    one model's
#   results/{study}/tables/{accuracy,calibration}.parquet            all models'
#   results/{study}/tables/images/{model}.parquet      how often each image was right
#   results/{study}/tables/failures.parquet            what failed, and why
#   results/{study}/tables/shape_bias.parquet          shape against texture, where there are sets of cue conflict
#   results/{study}/tables/models.parquet              facts about the models
#   results/{study}/tables/{attacks,transfer,patch_alignment,spatial}.parquet    where models are attacked
#   results/{study}/tables/{similarity,lesions,attention_limit,attention_distance}.parquet    where they are looked into


rule summarise_model:
    input:
        dag.model_predictions,
    output:
        accuracy="results/{study}/tables/accuracy/{model}.parquet",
        calibration="results/{study}/tables/calibration/{model}.parquet",
        images="results/{study}/tables/images/{model}.parquet",
    log:
        "results/{study}/logs/summarise_model/{model}.log",
    benchmark:
        "results/{study}/benchmarks/summarise_model/{model}.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        code=code_digest("withstand.steps.tabulate:summarise"),
    message:
        "Summarising the predictions of {wildcards.model}"
    shell:
        "withstand summarise {input:q} --accuracy {output.accuracy:q} --calibration {output.calibration:q}"
        " --images {output.images:q} > {log:q} 2>&1"


rule join_summaries:
    input:
        dag.statistics.summaries,
    output:
        "results/{study}/tables/{summary}.parquet",
    log:
        "results/{study}/logs/join_summaries/{summary}.log",
    benchmark:
        "results/{study}/benchmarks/join_summaries/{summary}.jsonl"
    wildcard_constraints:
        summary="accuracy|calibration",
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        code=code_digest("withstand.steps.tabulate:join_summaries"),
    message:
        "Joining the {wildcards.summary} of all models"
    shell:
        "withstand join-summaries {input:q} --output {output:q} > {log:q} 2>&1"


rule tabulate_failures:
    input:
        dag.remembering_tables,
    output:
        "results/{study}/tables/failures.parquet",
    log:
        "results/{study}/logs/tabulate_failures/failures.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_failures/failures.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        code=code_digest("withstand.steps.tabulate:tabulate_failures"),
    message:
        "Listing what failed"
    shell:
        "withstand tabulate-failures {input:q} --output {output:q} > {log:q} 2>&1"


rule tabulate_shape_bias:
    input:
        dag.cue_conflict_predictions,
    output:
        "results/{study}/tables/shape_bias.parquet",
    log:
        "results/{study}/logs/tabulate_shape_bias/shape_bias.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_shape_bias/shape_bias.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        code=code_digest("withstand.steps.tabulate:tabulate_shape_bias"),
    message:
        "Tabulating the shape bias of all models"
    shell:
        "withstand tabulate-shape-bias {input:q} --output {output:q} > {log:q} 2>&1"


rule tabulate_models:
    input:
        dag.cards,
    output:
        "results/{study}/tables/models.parquet",
    log:
        "results/{study}/logs/tabulate_models/models.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_models/models.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        descriptions=dag.model_descriptions,
        code=code_digest("withstand.steps.tabulate:tabulate_models"),
    message:
        "Tabulating the models"
    shell:
        "withstand tabulate-models {input:q} --descriptions {params.descriptions:q} --output {output:q} > {log:q} 2>&1"


rule tabulate_attacks:
    input:
        dag.attacks.predictions,
    output:
        "results/{study}/tables/attacks.parquet",
    log:
        "results/{study}/logs/tabulate_attacks/attacks.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_attacks/attacks.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        code=code_digest("withstand.steps.tabulate_attacks:tabulate_attacks"),
    message:
        "Tabulating the attacks on all models"
    shell:
        "withstand tabulate-attacks {input:q} --output {output:q} > {log:q} 2>&1"


rule tabulate_transfer:
    input:
        answers=dag.attacks.transfers,
        clean=dag.attacks.clean_predictions,
    output:
        "results/{study}/tables/transfer.parquet",
    log:
        "results/{study}/logs/tabulate_transfer/transfer.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_transfer/transfer.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        step="tabulate-transfer",
        clean=dag.attacks.clean_options,
        code=code_digest("withstand.steps.tabulate_attacks:tabulate_transfer"),
    message:
        "Tabulating the transfer of perturbations between models"
    shell:
        "withstand {params.step} {input.answers:q} {params.clean:q} --output {output:q} > {log:q} 2>&1"


use rule tabulate_transfer as tabulate_spatial with:
    input:
        answers=dag.attacks.spatial_answers,
        clean=dag.attacks.clean_predictions,
    output:
        "results/{study}/tables/spatial.parquet",
    log:
        "results/{study}/logs/tabulate_spatial/spatial.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_spatial/spatial.jsonl"
    localrule: True
    params:
        step="tabulate-spatial",
        clean=dag.attacks.clean_options,
        code=code_digest("withstand.steps.tabulate_attacks:tabulate_spatial"),
    message:
        "Tabulating rotations and translations"


rule tabulate_patch_alignment:
    input:
        perturbations=dag.attacks.all_perturbations,
        cards=dag.attacks.cards,
    output:
        "results/{study}/tables/patch_alignment.parquet",
    log:
        "results/{study}/logs/tabulate_patch_alignment/patch_alignment.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_patch_alignment/patch_alignment.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        cards=dag.attacks.card_options,
        source=dag.attacks.source,
        patch_sizes=dag.attacks.patch_sizes,
        code=dag.attacks.alignment_code,
    message:
        "Measuring where perturbations are large"
    shell:
        "withstand tabulate-patch-alignment {input.perturbations:q} {params.cards:q} --source {params.source:q}"
        " --patch-sizes {params.patch_sizes:q} --output {output:q} > {log:q} 2>&1"


rule tabulate_similarity:
    input:
        dag.internals.measured,
    output:
        "results/{study}/tables/similarity.parquet",
    log:
        "results/{study}/logs/tabulate_similarity/similarity.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_similarity/similarity.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        wanted=dag.internals.similarity_options,
        code=dag.internals.table_code,
    message:
        "Comparing the layers of all models"
    shell:
        "withstand tabulate-similarity {input:q} {params.wanted:q} --output {output:q} > {log:q} 2>&1"


rule tabulate_internals:
    input:
        dag.internals.measured,
    output:
        "results/{study}/tables/{table}.parquet",
    log:
        "results/{study}/logs/tabulate_internals/{table}.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_internals/{table}.jsonl"
    wildcard_constraints:
        table=alternatives(dag.internals.single_tables()),
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        code=dag.internals.table_code,
    message:
        "Tabulating {wildcards.table} of all models"
    shell:
        "withstand tabulate-internals {wildcards.table} {input:q} --output {output:q} > {log:q} 2>&1"
