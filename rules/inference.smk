# Needs: results/{study}/models/{model}.json, its weights, and results/{study}/images/{dataset}/{family}/{shard}.h5
# Makes:
#   results/{study}/predictions/{model}/{dataset}/{family}.parquet
#
# A family that is not materialized is made inside its job, from the clean images or the source; where models resize
# and crop images themselves, the job reads the source.
#
# Most of the time of a small job goes into starting Python: the clean images of all datasets are one job a model. Jobs
# update their outputs: predictions of the same images by the same model stay as they are, so that a dataset more means
# predictions on that one alone, and a gate that is judged again means none.


rule predict:
    input:
        card="results/{study}/models/{model}.json",
        weights=dag.model_weights,
        images=dag.image_shards,
    output:
        update("results/{study}/predictions/{model}/{dataset}/{family}.parquet"),
    log:
        "results/{study}/logs/predict/{model}.{dataset}.{family}.log",
    benchmark:
        "results/{study}/benchmarks/predict/{model}.{dataset}.{family}.jsonl"
    wildcard_constraints:
        family=alternatives(study.stored_families()),
    conda:
        "../envs/withstand.yaml"
    threads: 1
    resources:
        mem_mb=dag.resources.model_memory,
        runtime=dag.resources.prediction_minutes,
        gpu=1,
    params:
        image_sets=dag.predicted_set,
        computing=dag.computing,
        code=dag.prediction_code,
    message:
        "Running {wildcards.model} on {wildcards.dataset}, {wildcards.family}"
    shell:
        "withstand predict {params.image_sets:q} --card {input.card:q} --weights={input.weights:q}"
        " --computing {params.computing:q} --code {params.code} --threads {threads} > {log:q} 2>&1"


use rule predict as predict_streamed with:
    input:
        card="results/{study}/models/{model}.json",
        weights=dag.model_weights,
        images=dag.streamed_inputs,
        files=dag.streamed_files,
    log:
        "results/{study}/logs/predict_streamed/{model}.{dataset}.{family}.log",
    benchmark:
        "results/{study}/benchmarks/predict_streamed/{model}.{dataset}.{family}.jsonl"
    wildcard_constraints:
        family=alternatives(study.streamed_families()),
    threads: dag.reading_threads
    params:
        image_sets=dag.streamed_set,
        computing=dag.computing,
        code=dag.streamed_code,
    message:
        "Making {wildcards.family} of {wildcards.dataset} and running {wildcards.model} on it"


use rule predict_streamed as predict_from_source with:
    output:
        update("results/{study}/predictions/{model}/{dataset}/clean.parquet"),
    log:
        "results/{study}/logs/predict_from_source/{model}.{dataset}.log",
    benchmark:
        "results/{study}/benchmarks/predict_from_source/{model}.{dataset}.jsonl"
    wildcard_constraints:
        dataset=alternatives(study.model_policy_sets()),
    message:
        "Running {wildcards.model} on {wildcards.dataset}, resized and cropped by itself"


if study.stored_sets():

    use rule predict as predict_clean with:
        input:
            card="results/{study}/models/{model}.json",
            weights=dag.model_weights,
            images=dag.clean_shards,
        output:
            update(dag.clean_predictions()),
        log:
            "results/{study}/logs/predict_clean/{model}.log",
        benchmark:
            "results/{study}/benchmarks/predict_clean/{model}.jsonl"
        params:
            image_sets=dag.predicted_clean_sets,
            computing=dag.computing,
            code=dag.prediction_code,
        message:
            "Running {wildcards.model} on the clean images of all datasets"
