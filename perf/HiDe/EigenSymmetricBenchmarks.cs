// SPDX-License-Identifier: Apache-2.0
using BenchmarkDotNet.Attributes;
using HiMo.Interop;
using TorchSharp;

namespace HiMo.Kernels.Perf;

/// <summary>All eigenpairs of a Gram matrix, against libtorch's <c>linalg.eigh</c>.</summary>
public unsafe class EigenSymmetricBenchmarks
{
    private WorkerPool _pool = null!;
    private EigenSymmetric _eigen = null!;
    private torch.Tensor _gram = null!;
    private float[] _source = [];
    private float[] _matrix = [];
    private float[] _values = [];
    private float[] _vectors = [];

    [Params(1, 2)]
    public int Threads { get; set; }

    [Params(128, 256, 512, 768, 1280)]
    public int N { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        TorchLoader.EnsureLoaded();
        torch.set_num_threads(Threads);
        _pool = new WorkerPool(Threads);
        _eigen = new EigenSymmetric(N, _pool);
        using torch.Tensor scale = 1.0f / (torch.arange(N, dtype: torch.float32) + 1.0f);
        using torch.Tensor rows = (torch.randn(N, N) * scale).mm(torch.randn(N, N));
        _gram = rows.mm(rows.t());
        _source = [.. _gram.data<float>()];
        _matrix = new float[N * N];
        _values = new float[N];
        _vectors = new float[N * N];
        Ours();
        (torch.Tensor values, torch.Tensor vectors) = torch.linalg.eigh(_gram);
        float largest = values[N - 1].item<float>();
        values.Dispose();
        vectors.Dispose();
        if (!(Math.Abs(_values[0] - largest) <= 1e-5 * largest))
        {
            throw new InvalidOperationException($"n = {N}: the largest eigenvalue is {_values[0]} here and {largest} in libtorch.");
        }
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _eigen.Dispose();
        _pool.Dispose();
    }

    [Benchmark]
    public void Ours()
    {
        _source.CopyTo(_matrix, 0);
        fixed (float* matrix = _matrix, values = _values, vectors = _vectors)
        {
            _eigen.Decompose(matrix, values, vectors);
        }
    }

    [Benchmark(Baseline = true)]
    public void Libtorch()
    {
        (torch.Tensor values, torch.Tensor vectors) = torch.linalg.eigh(_gram);
        values.Dispose();
        vectors.Dispose();
    }
}
