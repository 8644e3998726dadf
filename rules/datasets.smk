# Needs: the sources of the config's datasets.
# Makes:
#   results/{study}/images/{dataset}/clean/{shard}.h5


rule prepare_images:
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
        "withstand prepare-images --source {params.source:q} --samples {params.samples} --size {params.size}"
        " --codec {params.codec} --code {params.code} --output {output:q} > {log:q} 2>&1"
