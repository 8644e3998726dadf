# Needs: results/{study}/images/{dataset}/clean/{shard}.h5 of the recipe's datasets.
# Makes:
#   results/weights/{weights}.safetensors    of the study's recipes; interrupted training goes on where it was


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
    params:
        recipe=dag.recipe_spec,
        images=dag.training_options,
        code=code_digest("withstand.steps.train:train"),
    message:
        "Training {wildcards.weights}"
    shell:
        "withstand train --recipe {params.recipe:q} {params.images:q}" " --output {output:q} > {log:q} 2>&1"
