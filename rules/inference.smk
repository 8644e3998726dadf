# Needs: results/{study}/models/{model}.json, its weights, and results/{study}/images/{dataset}/{family}/{shard}.h5
# Makes:
#   results/{study}/predictions/{model}/{dataset}/{family}.parquet
#
# Most of the time of a small job goes into starting Python: the clean images of all datasets are one job a model. It
# updates its outputs, so that a dataset more means predictions on that one alone.


rule predict:
    input:
        card="results/{study}/models/{model}.json",
        weights=dag.model_weights,
        images=dag.image_shards,
    output:
        "results/{study}/predictions/{model}/{dataset}/{family}.parquet",
    log:
        "results/{study}/logs/predict/{model}.{dataset}.{family}.log",
    benchmark:
        "results/{study}/benchmarks/predict/{model}.{dataset}.{family}.jsonl"
    wildcard_constraints:
        family=alternatives(study.families),
    conda:
        "../envs/withstand.yaml"
    threads: 1
    params:
        image_sets=dag.predicted_set,
        code=dag.prediction_code,
    message:
        "Running {wildcards.model} on {wildcards.dataset}, {wildcards.family}"
    shell:
        "withstand predict {params.image_sets:q} --card {input.card:q} --weights={input.weights:q}"
        " --code {params.code} > {log:q} 2>&1"


if study.evaluated():

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
            code=dag.prediction_code,
        message:
            "Running {wildcards.model} on the clean images of all datasets"
