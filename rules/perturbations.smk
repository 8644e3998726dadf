# Needs: results/{study}/images/{dataset}/clean/{shard}.h5
# Makes:
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
        family=alternatives(study.stored_families()),
    conda:
        "../envs/withstand.yaml"
    params:
        corruptions=dag.corruptions_spec,
        seed=study.seed,
        codec=study.images.codec,
        code=dag.corruption_code,
    message:
        "Corrupting {wildcards.dataset} by {wildcards.family}, shard {wildcards.shard}"
    shell:
        "withstand corrupt-images {input:q} --corruptions {params.corruptions:q} --seed {params.seed}"
        " --codec {params.codec} --code {params.code} --output {output:q} > {log:q} 2>&1"
