# Needs: results/{study}/models/{model}.json, its weights, and the images that models are looked into with
# Makes:
#   results/{study}/internals/{model}/grams.h5                      what similarity of layers is computed from
#   results/{study}/internals/{model}/lesions.parquet               answers without some blocks, MLPs or attentions
#   results/{study}/internals/{model}/attention_limit.parquet       answers with limited attention
#   results/{study}/internals/{model}/attention_distance.parquet    how far heads look
#   results/{study}/internals/{model}/{family}/...                  the same with corrupted images
#
# All experiments on a model are one job, which updates its outputs: an experiment or a family more costs what is new.


if dag.internals.outputs():

    rule measure_internals:
        input:
            card="results/{study}/models/{model}.json",
            weights=dag.model_weights,
            images=dag.internals.images,
            files=dag.internals.files,
        output:
            update(dag.internals.outputs()),
        log:
            "results/{study}/logs/measure_internals/{model}.log",
        benchmark:
            "results/{study}/benchmarks/measure_internals/{model}.jsonl"
        conda:
            "../envs/withstand.yaml"
        threads: dag.internals.reading_threads
        resources:
            mem_mb=dag.resources.model_memory,
            runtime=dag.resources.internals_minutes,
            gpu=1,
        params:
            experiments=dag.internals.experiments,
        message:
            "Looking into {wildcards.model}"
        shell:
            "withstand measure-internals {params.experiments:q} --card {input.card:q} --weights={input.weights:q}"
            " --threads {threads} > {log:q} 2>&1"
