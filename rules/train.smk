# Needs: the sources of the datasets that recipes are trained on.
# Makes, shared between studies:
#   results/weights/images/{images}/index.parquet of sources in files: what there is, and where its bytes lie
#   results/weights/images/{images}/{shard}.h5    training and validation images
#   results/weights/{weights}.safetensors         of the study's recipes; interrupted training goes on where it was


use rule index_source as index_training_source with:
    output:
        "results/weights/images/{images}/index.parquet",
    log:
        "results/weights/logs/index_training_source/{images}.log",
    benchmark:
        "results/weights/benchmarks/index_training_source/{images}.jsonl"
    wildcard_constraints:
        images=alternatives(dag.indexed_training_images()),
    message:
        "Looking through the files of {wildcards.images}, to train on"


use rule prepare_images as prepare_training_images with:
    output:
        "results/weights/images/{images}/{shard}.h5",
    log:
        "results/weights/logs/prepare_training_images/{images}.{shard}.log",
    benchmark:
        "results/weights/benchmarks/prepare_training_images/{images}.{shard}.jsonl"
    wildcard_constraints:
        images=alternatives(dag.training_images()),
    params:
        samples=dag.training_range,
    message:
        "Preparing the images {wildcards.images} to train on, shard {wildcards.shard}"


rule train_model:
    input:
        training=dag.training_shards,
        validation=dag.validation_shards,
    output:
        "results/weights/{weights}.safetensors",
    log:
        "results/weights/logs/{weights}.log",
    benchmark:
        "results/weights/benchmarks/{weights}.jsonl"
    wildcard_constraints:
        weights=alternatives(dag.trained_weights()),
    conda:
        "../envs/withstand.yaml"
    threads: 1
    resources:
        mem_mb=dag.resources.model_memory,
        runtime=dag.resources.training_minutes,
        gpu=1,
    params:
        recipe=dag.recipe_spec,
        images=dag.training_options,
        code=code_digest("withstand.steps.train:train_or_record"),
    message:
        "Training {wildcards.weights}"
    shell:
        "withstand train --recipe {params.recipe:q} {params.images:q} --code {params.code} --output {output:q}"
        " > {log:q} 2>&1"
