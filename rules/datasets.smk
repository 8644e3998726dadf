# Needs: the sources of the config's datasets; for natural adversarial examples, the weights of the reference model.
# Makes:
#   results/{study}/images/{dataset}/missed.parquet      natural adversarial examples: which samples
#   results/{study}/images/{dataset}/clean/{shard}.h5


rule find_missed:
    input:
        weights=dag.reference_weights,
    output:
        "results/{study}/images/{dataset}/missed.parquet",
    log:
        "results/{study}/logs/find_missed/{dataset}.log",
    benchmark:
        "results/{study}/benchmarks/find_missed/{dataset}.jsonl"
    wildcard_constraints:
        dataset=alternatives(dag.missed_sets()),
    conda:
        "../envs/withstand.yaml"
    threads: 1
    params:
        source=dag.source_spec,
        pool=dag.searched_pool,
        samples=dag.sample_count,
        reference=dag.reference_spec,
        code=dag.search_code,
    message:
        "Looking for the samples of {wildcards.dataset} that its reference model gets wrong"
    shell:
        "withstand find-missed --source {params.source:q} --pool {params.pool} --count {params.samples}"
        " --spec {params.reference:q} --weights={input.weights:q} --output {output:q} > {log:q} 2>&1"


rule prepare_images:
    input:
        selection=dag.selection,
    output:
        "results/{study}/images/{dataset}/clean/{shard}.h5",
    log:
        "results/{study}/logs/prepare_images/{dataset}.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/prepare_images/{dataset}.{shard}.jsonl"
    conda:
        "../envs/withstand.yaml"
    params:
        source=dag.source_spec,
        samples=dag.sample_range,
        size=study.images.size,
        codec=study.images.codec,
        code=dag.source_code,
    message:
        "Preparing the images of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "withstand prepare-images --source {params.source:q} --selection={input.selection:q} --samples {params.samples}"
        " --size {params.size} --codec {params.codec} --code {params.code} --output {output:q} > {log:q} 2>&1"
