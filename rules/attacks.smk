# Needs: results/{study}/models/{model}.json, its weights, and the clean images of the attacked dataset
# Makes:
#   results/{study}/attacks/{model}/{attack}.h5                       perturbations
#   results/{study}/predictions/{model}/{dataset}/{attack}.parquet    what the model makes of them
#   results/{study}/transfer/{model}.parquet                          what it makes of those made for others
#   results/{study}/spatial/{model}.parquet                           what it makes of rotations and translations
#
# Attacks on a model are one job, and so is a model's row of transfers: both update their outputs, so that an attack or
# a model more costs what is new.


if dag.attacks.perturbations():

    rule attack_model:
        input:
            card="results/{study}/models/{model}.json",
            weights=dag.model_weights,
            images=dag.attacks.images,
            files=dag.attacks.files,
        output:
            update(dag.attacks.outputs()),
        log:
            "results/{study}/logs/attack_model/{model}.log",
        benchmark:
            "results/{study}/benchmarks/attack_model/{model}.jsonl"
        conda:
            "../envs/withstand.yaml"
        threads: dag.attacks.reading_threads
        resources:
            mem_mb=dag.resources.model_memory,
            runtime=dag.resources.attack_minutes,
            gpu=1,
        params:
            runs=dag.attacks.runs,
            code=dag.attacks.attack_code,
        message:
            "Attacking {wildcards.model}"
        shell:
            "withstand attack {params.runs:q} --card {input.card:q} --weights={input.weights:q} --code {params.code}"
            " --threads {threads} > {log:q} 2>&1"

    rule transfer_perturbations:
        input:
            card="results/{study}/models/{model}.json",
            weights=dag.model_weights,
            images=dag.attacks.images,
            files=dag.attacks.files,
            perturbations=dag.attacks.all_perturbations,
        output:
            update("results/{study}/transfer/{model}.parquet"),
        log:
            "results/{study}/logs/transfer_perturbations/{model}.log",
        benchmark:
            "results/{study}/benchmarks/transfer_perturbations/{model}.jsonl"
        conda:
            "../envs/withstand.yaml"
        threads: dag.attacks.reading_threads
        resources:
            mem_mb=dag.resources.model_memory,
            runtime=dag.resources.transfer_minutes,
            gpu=1,
        params:
            images=dag.attacks.transfer_set,
            sources=dag.attacks.transfer_sources,
            code=dag.attacks.transfer_code,
        message:
            "Showing {wildcards.model} the perturbations made for all models"
        shell:
            "withstand transfer {params.images:q} --sources {params.sources:q} --card {input.card:q}"
            " --weights={input.weights:q} --code {params.code} --threads {threads} > {log:q} 2>&1"


rule attack_spatial:
    input:
        card="results/{study}/models/{model}.json",
        weights=dag.model_weights,
        images=dag.attacks.images,
        files=dag.attacks.files,
    output:
        update("results/{study}/spatial/{model}.parquet"),
    log:
        "results/{study}/logs/attack_spatial/{model}.log",
    benchmark:
        "results/{study}/benchmarks/attack_spatial/{model}.jsonl"
    conda:
        "../envs/withstand.yaml"
    threads: dag.attacks.reading_threads
    resources:
        mem_mb=dag.resources.model_memory,
        runtime=dag.resources.spatial_minutes,
        gpu=1,
    params:
        images=dag.attacks.spatial_set,
        grid=dag.attacks.spatial_grid,
        code=dag.attacks.spatial_code,
    message:
        "Rotating and translating images for {wildcards.model}"
    shell:
        "withstand attack-spatial {params.images:q} --grid {params.grid:q} --card {input.card:q}"
        " --weights={input.weights:q} --code {params.code} --threads {threads} > {log:q} 2>&1"
