# Needs: the sources of the config's datasets; for natural adversarial examples, the weights of the reference model.
# Makes:
#   results/downloads/{source}/{archive}                 published sets, shared between studies
#   results/{study}/images/{dataset}/index.parquet       of sources in files: what there is, and where its bytes lie
#   results/{study}/images/{dataset}/missed.parquet      natural adversarial examples: which samples
#   results/{study}/images/{dataset}/clean/{shard}.h5


rule download:
    output:
        "results/downloads/{source}/{archive}",
    log:
        "results/downloads/logs/{source}/{archive}.log",
    wildcard_constraints:
        source=alternatives(dag.download_folders()),
        archive=alternatives(dag.downloaded_archives()),
    localrule: True
    conda:
        "../envs/withstand.yaml"
    message:
        "Downloading {wildcards.archive} of {wildcards.source}"
    shell:
        "withstand download {output:q} > {log:q} 2>&1"


rule index_source:
    input:
        files=dag.source_files,
    output:
        "results/{study}/images/{dataset}/index.parquet",
    log:
        "results/{study}/logs/index_source/{dataset}.log",
    benchmark:
        "results/{study}/benchmarks/index_source/{dataset}.jsonl"
    wildcard_constraints:
        dataset=alternatives(study.indexed_sets()),
    conda:
        "../envs/withstand.yaml"
    resources:
        mem_mb=dag.resources.image_memory,
        runtime=dag.resources.scan_minutes,
    params:
        source=dag.scanned_spec,
        code=dag.scan_code,
    message:
        "Looking through the files of {wildcards.dataset}"
    shell:
        "withstand index-source --source {params.source:q} --output {output:q} > {log:q} 2>&1"


rule find_missed:
    input:
        weights=dag.reference_weights,
        index=dag.index,
        files=dag.read_files,
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
    threads: dag.reading_threads
    resources:
        mem_mb=dag.resources.model_memory,
        runtime=dag.resources.search_minutes,
        gpu=1,
    params:
        source=dag.source_spec,
        pool=dag.searched_pool,
        choice=dag.choice,
        samples=dag.sample_count,
        unreadable=dag.unreadable,
        reference=dag.reference_spec,
        code=dag.search_code,
    message:
        "Looking for the samples of {wildcards.dataset} that its reference model gets wrong"
    shell:
        "withstand find-missed --source {params.source:q} --pool {params.pool} {params.choice:q}"
        " --count {params.samples}"
        " --spec {params.reference:q} --weights={input.weights:q} --index={input.index:q}"
        " --unreadable {params.unreadable} --threads {threads}"
        " --output {output:q} > {log:q} 2>&1"


rule prepare_images:
    input:
        selection=dag.selection,
        index=dag.index,
        files=dag.read_files,
    output:
        "results/{study}/images/{dataset}/clean/{shard}.h5",
    log:
        "results/{study}/logs/prepare_images/{dataset}.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/prepare_images/{dataset}.{shard}.jsonl"
    conda:
        "../envs/withstand.yaml"
    threads: dag.preparing_threads
    resources:
        mem_mb=dag.resources.image_memory,
        runtime=dag.resources.image_minutes,
    params:
        source=dag.source_spec,
        preparation=dag.preparation,
        samples=dag.sample_range,
        choice=dag.choice,
        size=dag.image_size,
        codec=study.images.codec,
        code=dag.source_code,
    message:
        "Preparing the images of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "withstand prepare-images --source {params.source:q} --index={input.index:q} --selection={input.selection:q}"
        " --samples {params.samples} {params.choice:q} --size {params.size} --preparation {params.preparation:q} --codec {params.codec}"
        " --code {params.code} --threads {threads} --output {output:q} > {log:q} 2>&1"
