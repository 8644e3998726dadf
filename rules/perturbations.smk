# Needs: results/{study}/images/{dataset}/clean/{shard}.h5, and the archives of corrupted sets as published
# Makes:
#   results/{study}/images/{dataset}/{family}/index.parquet    of corrupted sets as published: where the bytes lie
#   results/{study}/images/{dataset}/{family}/{shard}.h5


rule corrupt_images:
    input:
        "results/{study}/images/{dataset}/clean/{shard}.h5",
    output:
        "results/{study}/images/{dataset}/{family}/{shard}.h5",
    log:
        "results/{study}/logs/corrupt_images/{dataset}.{family}.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/corrupt_images/{dataset}.{family}.{shard}.jsonl"
    wildcard_constraints:
        family=alternatives(study.made_families()),
    conda:
        "../envs/withstand.yaml"
    resources:
        mem_mb=dag.resources.image_memory,
        runtime=dag.resources.image_minutes,
    params:
        corruptions=dag.corruptions_spec,
        seed=study.seed,
        codec=study.images.codec,
        code=dag.corruption_code,
    message:
        "Corrupting {wildcards.dataset} by {wildcards.family}, shard {wildcards.shard}"
    shell:
        "withstand corrupt-images {input:q} --corruptions {params.corruptions:q} --seed {params.seed}"
        " --codec {params.codec} --code {params.code} --device cpu --output {output:q} > {log:q} 2>&1"


rule index_family:
    input:
        files=dag.source_files,
    output:
        "results/{study}/images/{dataset}/{family}/index.parquet",
    log:
        "results/{study}/logs/index_family/{dataset}.{family}.log",
    benchmark:
        "results/{study}/benchmarks/index_family/{dataset}.{family}.jsonl"
    wildcard_constraints:
        family=alternatives(study.downloaded_families()),
    conda:
        "../envs/withstand.yaml"
    resources:
        mem_mb=dag.resources.image_memory,
        runtime=dag.resources.scan_minutes,
    params:
        source=dag.scanned_spec,
        code=dag.scan_code,
    message:
        "Looking through the files of {wildcards.family}, corrupted copies of {wildcards.dataset}"
    shell:
        "withstand index-source --source {params.source:q} --output {output:q} > {log:q} 2>&1"


rule take_images:
    input:
        clean="results/{study}/images/{dataset}/clean/{shard}.h5",
        index=dag.family_index,
        files=dag.source_files,
    output:
        "results/{study}/images/{dataset}/{family}/{shard}.h5",
    log:
        "results/{study}/logs/take_images/{dataset}.{family}.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/take_images/{dataset}.{family}.{shard}.jsonl"
    wildcard_constraints:
        family=alternatives(study.downloaded_families()),
    conda:
        "../envs/withstand.yaml"
    threads: dag.reading_threads
    resources:
        mem_mb=dag.resources.image_memory,
        runtime=dag.resources.image_minutes,
    params:
        wanted=dag.taken_set,
        codec=study.images.codec,
        code=dag.taking_code(),
    message:
        "Taking {wildcards.family} of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "withstand take-images {input.clean:q} --index {input.index:q} --wanted {params.wanted:q}"
        " --codec {params.codec} --code {params.code} --threads {threads} --output {output:q} > {log:q} 2>&1"
