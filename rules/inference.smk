# Needs: results/{study}/models/{model}.json, the model's weights, results/{study}/images/{dataset}/{family}/{shard}.h5
# Makes:
#   results/{study}/predictions/{model}/{dataset}/{family}.parquet


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
    conda:
        "../envs/withstand.yaml"
    threads: 1
    params:
        code=dag.prediction_code,
    message:
        "Running {wildcards.model} on {wildcards.dataset}, {wildcards.family}"
    shell:
        "withstand predict {input.images:q} --card {input.card:q} --weights={input.weights:q}"
        " --dataset {wildcards.dataset:q} --family {wildcards.family:q} --output {output:q} > {log:q} 2>&1"
