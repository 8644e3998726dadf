# Needs: results/{study}/models/{model}.json, its weights, and the clean images of the attacked dataset
# Makes:
#   results/{study}/attacks/{model}/{attack}.h5                       perturbations
#   results/{study}/predictions/{model}/{dataset}/{attack}.parquet    what the model makes of them
#   results/{study}/transfer/{model}.parquet                          what it makes of those made for others
#   results/{study}/spatial/{model}.parquet                           what it makes of rotations and translations
#
# Attacks on a model are one job, and so is a model's row of transfers: both update their outputs, so that an attack or
# a model more costs what is new.


if dag.perturbations():

    rule attack_model:
        input:
            card="results/{study}/models/{model}.json",
            weights=dag.model_weights,
            images=dag.attacked_images,
            files=dag.attacked_files,
        output:
            update(dag.attack_outputs()),
        log:
            "results/{study}/logs/attack_model/{model}.log",
        benchmark:
            "results/{study}/benchmarks/attack_model/{model}.jsonl"
        conda:
            "../envs/withstand.yaml"
        threads: 1
        params:
            runs=dag.attack_runs,
            code=dag.attack_code,
        message:
            "Attacking {wildcards.model}"
        shell:
            "withstand attack {params.runs:q} --card {input.card:q} --weights={input.weights:q} --code {params.code}"
            " --threads {threads} > {log:q} 2>&1"

    rule transfer_perturbations:
        input:
            card="results/{study}/models/{model}.json",
            weights=dag.model_weights,
            images=dag.attacked_images,
            files=dag.attacked_files,
            perturbations=dag.all_perturbations,
        output:
            update("results/{study}/transfer/{model}.parquet"),
        log:
            "results/{study}/logs/transfer_perturbations/{model}.log",
        benchmark:
            "results/{study}/benchmarks/transfer_perturbations/{model}.jsonl"
        conda:
            "../envs/withstand.yaml"
        threads: 1
        params:
            images=dag.transfer_set,
            sources=dag.transfer_sources,
            code=dag.transfer_code,
        message:
            "Showing {wildcards.model} the perturbations made for all models"
        shell:
            "withstand transfer {params.images:q} --sources {params.sources:q} --card {input.card:q}"
            " --weights={input.weights:q} --code {params.code} --threads {threads} > {log:q} 2>&1"


rule attack_spatial:
    input:
        card="results/{study}/models/{model}.json",
        weights=dag.model_weights,
        images=dag.attacked_images,
        files=dag.attacked_files,
    output:
        "results/{study}/spatial/{model}.parquet",
    log:
        "results/{study}/logs/attack_spatial/{model}.log",
    benchmark:
        "results/{study}/benchmarks/attack_spatial/{model}.jsonl"
    conda:
        "../envs/withstand.yaml"
    threads: 1
    params:
        images=dag.spatial_set,
        grid=dag.spatial_grid,
        code=dag.spatial_code,
    message:
        "Rotating and translating images for {wildcards.model}"
    shell:
        "withstand attack-spatial {params.images:q} --grid {params.grid:q} --card {input.card:q}"
        " --weights={input.weights:q} --code {params.code} --threads {threads} > {log:q} 2>&1"
