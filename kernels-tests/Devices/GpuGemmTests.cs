// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class GpuGemmTests
{
    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = TestGpu.Open();

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    [TestCase(3, 2, 17)]
    [TestCase(33, 65, 16)]
    [TestCase(65, 31, 33)]
    public void Portable_product_has_the_error_of_float32(int rows, int columns, int depth) => CheckBoth<PortablePrecision>(rows, columns, depth, 1e-6 * Math.Sqrt(depth));

    [TestCase(1, 1, 1)]
    [TestCase(3, 2, 17)]
    [TestCase(63, 65, 16)]
    [TestCase(65, 1, 33)]
    public void Strict_product_has_the_error_of_float32(int rows, int columns, int depth) =>
        Check<LargeTile, StrictPrecision>(rows, columns, depth, 1e-6 * Math.Sqrt(depth));

    [TestCase(1, 33, 15)]
    [TestCase(31, 32, 31)]
    [TestCase(32, 63, 16)]
    [TestCase(33, 31, 17)]
    [TestCase(65, 1, 1)]
    public void Strict_product_in_small_tiles_has_the_error_of_float32(int rows, int columns, int depth) =>
        Check<SmallTile, StrictPrecision>(rows, columns, depth, 1e-6 * Math.Sqrt(depth));

    [TestCase(33, 31, 17)]
    [TestCase(3, 33, 64)]
    [TestCase(32, 1, 65)]
    [TestCase(1, 32, 143)]
    public void Strict_product_by_teams_has_the_error_of_float32(int rows, int columns, int depth)
    {
        TestGpu.NotOnOpenCl("matrix instructions");
        using Gpu gpu = TestGpu.Open(warps: 4 * DeepTile.Parts);
        Check<DeepTile, StrictPrecision>(rows, columns, depth, 1e-6 * Math.Sqrt(depth), gpu);
    }

    [TestCase(33, 31, 17)]
    [TestCase(32, 1, 143)]
    public void Rounded_products_by_teams(int rows, int columns, int depth)
    {
        TestGpu.NotOnOpenCl("matrix instructions");
        using Gpu gpu = TestGpu.Open(warps: 4 * DeepTile.Parts);
        Check<DeepTile, Tf32Precision>(rows, columns, depth, 1.0 / 1024 * Math.Sqrt(depth), gpu);
        Check<DeepTile, Bf16Precision>(rows, columns, depth, 1.0 / 128 * Math.Sqrt(depth), gpu);
    }

    [TestCase(128, 1056, 1, "DeepTile", 33, 4)]
    [TestCase(128, 1057, 1, "SmallTile", 34, 4)]
    [TestCase(64, 8448, 1, "LargeTile", 132, 1)]
    [TestCase(128, 128, 8, "DeepTile", 4, 4)]
    [TestCase(128, 128, 32, "SmallTile", 4, 4)]
    [TestCase(128, 128, 33, "LargeTile", 2, 2)]
    public void Results_too_small_for_the_chip_are_made_in_small_tiles(int rows, int columns, int batches, string tile, int across, int down)
    {
        using Gpu gpu = Gpu.OpenEmulated(warps: 16, onlyRecords: true, multiprocessors: 132);
        GpuGemm.Run<StridedMatrix, StridedMatrix, StridedMatrix, StrictPrecision>(
            gpu, gpu.Accelerator.DefaultStream, 1, new() { Rows = rows, Columns = columns, Depth = 20 }, batches);
        LaunchEntry launch = gpu.Log.Launches.Single();
        Assert.That(launch.Name, Does.Contain($",{tile},"));
        Assert.That(launch.Groups, Is.EqualTo(new Index3D(across, down, batches)));
        Assert.That(launch.Threads, Is.EqualTo(tile == "DeepTile" ? 512 : 128));
    }

    [Test]
    public void Tails_of_small_tiles_meet_in_every_pair([Values(31, 32, 33, 67)] int rows, [Values(31, 32, 33, 67)] int columns) =>
        Check<SmallTile, StrictPrecision>(rows, columns, depth: 1 + ((rows + (2 * columns)) % 3), 2e-6);

    [Test]
    public void Tails_of_large_tiles_meet_in_every_pair([Values(63, 64, 65, 131)] int rows, [Values(63, 64, 65, 131)] int columns) =>
        Check<LargeTile, StrictPrecision>(rows, columns, depth: 1 + ((rows + (2 * columns)) % 3), 2e-6);

    [TestCase(17, 9, 20)]
    public void Tf32_operands_are_rounded(int rows, int columns, int depth) => CheckBoth<Tf32Precision>(rows, columns, depth, 1.0 / 1024 * Math.Sqrt(depth));

    [TestCase(17, 9, 20)]
    public void Bf16_operands_are_rounded(int rows, int columns, int depth) => CheckBoth<Bf16Precision>(rows, columns, depth, 1.0 / 128 * Math.Sqrt(depth));

    [Test]
    public void Operands_are_rounded_to_the_nearest_not_truncated()
    {
        TestGpu.NotOnOpenCl("matrix instructions");
        const float AboveHalf = 1.0f + (3.0f / 4096), FarAboveHalf = 1.0f + (3.0f / 512); // of tf32's and of bf16's distance behind 1
        Assert.Multiple(() =>
        {
            Assert.That(Multiply<LargeTile, Tf32Precision>([AboveHalf], [1.0f], 1, 1, 1), Is.EqualTo(new[] { 1.0f + (1.0f / 1024) }));
            Assert.That(Multiply<SmallTile, Tf32Precision>([1.0f], [AboveHalf], 1, 1, 1), Is.EqualTo(new[] { 1.0f + (1.0f / 1024) }));
            Assert.That(Multiply<LargeTile, Bf16Precision>([FarAboveHalf], [1.0f], 1, 1, 1), Is.EqualTo(new[] { 1.0f + (1.0f / 128) }));
            Assert.That(Multiply<SmallTile, Bf16Precision>([1.0f], [FarAboveHalf], 1, 1, 1), Is.EqualTo(new[] { 1.0f + (1.0f / 128) }));
        });
    }

    [TestCase(1)]
    [TestCase(2)]
    public void A_long_depth_is_taken_in_parts(int batches)
    {
        const int Rows = 3, Columns = 2, Depth = 1027, Parts = 3;
        Random random = new(batches);
        float[] a = [.. Enumerable.Range(0, batches * Rows * Depth).Select(_ => (2 * random.NextSingle()) - 1)];
        float[] b = [.. Enumerable.Range(0, batches * Depth * Columns).Select(_ => (2 * random.NextSingle()) - 1)];
        using MemoryBuffer1D<float, Stride1D.Dense> left = _gpu.Accelerator.Allocate1D(a);
        using MemoryBuffer1D<float, Stride1D.Dense> right = _gpu.Accelerator.Allocate1D(b);
        long length = DepthPartsGpu.ScratchLength(Rows, Columns, Depth);
        using MemoryBuffer1D<float, Stride1D.Dense> scratch = _gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, (int)length * batches).ToArray());
        using MemoryBuffer1D<float, Stride1D.Dense> result = _gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, batches * Rows * Columns).ToArray());
        DepthPartsGpu.Run(Parts, new BatchStream(_gpu, _gpu.Accelerator.DefaultStream, batches), new GemmArguments<StridedMatrix, StridedMatrix, StridedMatrix>
        {
            A = StridedMatrix.Rows(new BatchView<float>(left.View.BaseView, Rows * Depth), Depth),
            B = StridedMatrix.Columns(new BatchView<float>(right.View.BaseView, Depth * Columns), Columns),
            C = StridedMatrix.Rows(new BatchView<float>(result.View.BaseView, Rows * Columns), Columns), Rows = Rows, Columns = Columns, Depth = Depth,
        }, new BatchView<float>(scratch.View.BaseView, length));
        _gpu.Accelerator.Synchronize();
        float[] c = result.GetAsArray1D();
        for (int i = 0; i < c.Length; i++)
        {
            int batch = i / (Rows * Columns), row = i / Columns % Rows, column = i % Columns;
            double expected = Enumerable.Range(0, Depth).Sum(k => (double)a[(((batch * Rows) + row) * Depth) + k] * b[(((batch * Depth) + k) * Columns) + column]);
            Assert.That(c[i], Is.EqualTo(expected).Within(1e-6 * Math.Sqrt(Depth)), $"element {i}");
        }
    }

    [TestCase(768, 8192, 2, "parts")]
    [TestCase(768, 1023, 1, "short")]
    [TestCase(1280, 8192, 1, "full")]
    public void Parts_of_a_depth_fill_the_chip(int size, int depth, int launches, string name)
    {
        using Gpu gpu = Gpu.OpenEmulated(warps: 16, onlyRecords: true, multiprocessors: 132);
        DepthPartsGpu.Run(new BatchStream(gpu, gpu.Accelerator.DefaultStream, 1), new GemmArguments<StridedMatrix, StridedMatrix, StridedMatrix>
        {
            Rows = size, Columns = size, Depth = depth,
        }, default);
        Assert.That(gpu.Log.Launches, Has.Count.EqualTo(launches), name);
    }

    [Test]
    public void The_kernels_of_parts_fit_the_device()
    {
        TestGpu.NeedsEmulation();       // the bundle for GPU machines has no assembler
        using Gpu gpu = Gpu.OpenEmulated(warps: 16, onlyRecords: true, multiprocessors: 132);
        DepthPartsGpu.Run(new BatchStream(gpu, gpu.Accelerator.DefaultStream, 1), new GemmArguments<CouplingComponents, CouplingVectors, CouplingResult>
        {
            Rows = 768, Columns = 768, Depth = 8192,
        }, default);
        DepthPartsGpu.Run(new BatchStream(gpu, gpu.Accelerator.DefaultStream, 1), new GemmArguments<CentredRows, CentredRows, SymmetricResult>
        {
            Rows = 768, Columns = 768, Depth = 8192, IsSymmetric = 1,
        }, default);
        foreach (LaunchEntry launch in gpu.Log.Launches)
        {
            string ptx = OfflinePtx.Compile(launch.Kernel, launch.Threads, "sm_90");
            Assert.That(ptx, Does.Not.Contain("call ").And.Not.Contain(".local"), launch.Name);
            PtxasReport report = Ptxas.Assemble(Ptxas.FindOrSkip(), ptx, "sm_90");
            Assert.That(report.StackBytes + report.SpillBytes, Is.Zero, launch.Name);
        }

        Assert.That(gpu.Log.Launches, Has.Count.EqualTo(4));
    }

    [Test]
    public void A_symmetric_product_and_one_of_m_columns_are_made_in_more_parts()
    {
        using Gpu gpu = Gpu.OpenEmulated(warps: 16, onlyRecords: true, multiprocessors: 132);
        BatchView<int> kept = gpu.PretendMemory(sizeof(int)).Cast<int>();
        GemmArguments<StridedMatrix, StridedMatrix, StridedMatrix> all = new() { Rows = 768, Columns = 768, Depth = 8192 };
        Assert.That(Across(all), Is.EqualTo(2 * 12));
        Assert.That(Across(all with { IsSymmetric = 1 }), Is.EqualTo(5 * 12));
        Assert.That(Across(all with { ColumnLimit = new() { Kept = kept } }), Is.EqualTo(5 * 12));

        int Across(GemmArguments<StridedMatrix, StridedMatrix, StridedMatrix> product)
        {
            gpu.Log.Reset();
            DepthPartsGpu.Run(new BatchStream(gpu, gpu.Accelerator.DefaultStream, 1), product, default);
            return gpu.Log.Launches[0].Groups.X;
        }
    }

    // As in steps of 512 rows and more.
    [Test]
    public void What_couples_components_and_vectors_is_made_in_parts()
    {
        const int Rows = 7, Columns = 5, Pitch = Columns + 1, Kept = 3;
        float[] values = Values(3 * (Rows * Columns) + (2 * Rows * Pitch) + (2 * Columns) + Pitch);
        using MemoryBuffer1D<float, Stride1D.Dense> memory = _gpu.Accelerator.Allocate1D(values);
        using MemoryBuffer1D<int, Stride1D.Dense> kept = _gpu.Accelerator.Allocate1D([Kept]);
        using MemoryBuffer1D<float, Stride1D.Dense> scratch = _gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, 2 * Columns * Columns).ToArray());
        using MemoryBuffer1D<float, Stride1D.Dense> result = _gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, Columns * Columns).ToArray());
        ArrayView<float> all = memory.View.BaseView;
        int queries = 0, keys = Rows * Columns, j = 2 * Rows * Columns, l = j + (Rows * Pitch), delta = l + (Rows * Pitch), mean = delta + Columns, shrunk = mean + Columns;
        DepthPartsGpu.Run(2, new BatchStream(_gpu, _gpu.Accelerator.DefaultStream, 1), new GemmArguments<CouplingComponents, CouplingVectors, CouplingResult>
        {
            A = new() { Queries = From(queries), Keys = new() { Unit = From(keys), Delta = From(delta), Mean = From(mean), Columns = Columns }, Rows = Rows },
            B = new() { First = From(j), Second = From(l), Rows = Rows, Pitch = Pitch },
            C = new() { Data = result.View.BaseView, Mean = From(mean), Shrunk = From(shrunk), Size = Columns }, Rows = Columns, Columns = Columns, Depth = 2 * Rows,
            ColumnLimit = new() { Kept = kept.View.BaseView },
        }, scratch.View.BaseView);
        _gpu.Accelerator.Synchronize();
        float[] c = result.GetAsArray1D();
        for (int component = 0; component < Columns; component++)
        {
            for (int vector = 0; vector < Columns; vector++)
            {
                double expected = (double)values[mean + component] * values[shrunk + vector + 1];
                for (int row = 0; row < Rows; row++)
                {
                    double centred = (double)values[keys + (row * Columns) + component] - values[keys + component] - values[delta + component];
                    expected += ((double)values[queries + (row * Columns) + component] * values[j + (row * Pitch) + vector + 1]) + (centred * values[l + (row * Pitch) + vector + 1]);
                }

                Assert.That(c[(component * Columns) + vector], vector < Kept ? Is.EqualTo(expected).Within(1e-5) : Is.NaN, $"{component}, {vector}");
            }
        }

        BatchView<float> From(int start) => all.SubView(start, all.Length - start);
    }

    [TestCase(5, 9, 0)]
    [TestCase(70, 9, 0)]
    [TestCase(70, 9, 3)]
    public void A_symmetric_product_is_made_by_its_lower_half(int size, int depth, int parts)
    {
        float[] a = Values(size * depth);
        float[] c = new float[size * size];
        using MemoryBuffer1D<float, Stride1D.Dense> left = _gpu.Accelerator.Allocate1D(a);
        using MemoryBuffer1D<float, Stride1D.Dense> scratch = _gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, Math.Max(parts, 1) * size * size).ToArray());
        StridedMatrix rows = StridedMatrix.Rows(left.View.BaseView, depth);
        foreach (Action<GemmArguments<StridedMatrix, StridedMatrix, SymmetricResult>> run in parts > 0 ? [InParts] : new[] { Run<LargeTile>, Run<SmallTile> })
        {
            using MemoryBuffer1D<float, Stride1D.Dense> result = _gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, size * size).ToArray());
            run(new()
            {
                A = rows, B = rows, C = new() { Data = result.View.BaseView, Size = size }, Rows = size, Columns = size, Depth = depth, IsSymmetric = 1,
            });
            _gpu.Accelerator.Synchronize();
            c = result.GetAsArray1D();
            for (int i = 0; i < c.Length; i++)
            {
                double expected = Enumerable.Range(0, depth).Sum(k => (double)a[(i / size * depth) + k] * a[(i % size * depth) + k]);
                Assert.That(c[i], Is.EqualTo(expected).Within(1e-6 * Math.Sqrt(depth)), $"element {i}");
            }
        }

        void InParts(GemmArguments<StridedMatrix, StridedMatrix, SymmetricResult> product) =>
            DepthPartsGpu.Run(parts, new BatchStream(_gpu, _gpu.Accelerator.DefaultStream, 1), product, scratch.View.BaseView);

        void Run<TTile>(GemmArguments<StridedMatrix, StridedMatrix, SymmetricResult> product)
            where TTile : struct, IGemmTile
        {
            if (_gpu.IsOpenCl)
            {
                GpuGemm.Run<StridedMatrix, StridedMatrix, SymmetricResult, TTile, PortablePrecision>(_gpu, _gpu.Accelerator.DefaultStream, 1, product);
            }
            else
            {
                GpuGemm.Run<StridedMatrix, StridedMatrix, SymmetricResult, TTile, StrictPrecision>(_gpu, _gpu.Accelerator.DefaultStream, 1, product);
            }
        }
    }

    [TestCase(1)]
    [TestCase(2)]
    public void Columns_end_at_m_and_the_depth_at_twice_as_much(int parts)
    {
        const int Rows = 3, Columns = 9, Depth = 11, Kept = 4;
        float[] a = Values(Rows * Depth), b = Values(Columns * Depth);
        using MemoryBuffer1D<float, Stride1D.Dense> left = _gpu.Accelerator.Allocate1D(a);
        using MemoryBuffer1D<float, Stride1D.Dense> right = _gpu.Accelerator.Allocate1D(b);
        using MemoryBuffer1D<int, Stride1D.Dense> kept = _gpu.Accelerator.Allocate1D([Kept]);
        using MemoryBuffer1D<float, Stride1D.Dense> result = _gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, parts * Rows * Columns).ToArray()); // over the first part
        GemmArguments<StridedMatrix, StridedMatrix, StridedMatrix> product = new()
        {
            A = StridedMatrix.Rows(left.View.BaseView, Depth), B = StridedMatrix.Rows(right.View.BaseView, Depth), C = StridedMatrix.Rows(result.View.BaseView, Columns),
            Rows = Rows, Columns = Columns, Depth = Depth, ColumnLimit = new() { Kept = kept.View.BaseView, Extra = 1 },
        };
        if (parts > 1)
        {
            DepthPartsGpu.Run(parts, new BatchStream(_gpu, _gpu.Accelerator.DefaultStream, 1), product, result.View.BaseView);
        }
        else
        {
            product.DepthLimit = new() { Kept = kept.View.BaseView, Doubled = 1 };
            new BatchStream(_gpu, _gpu.Accelerator.DefaultStream, 1).Multiply(1, product);
        }

        _gpu.Accelerator.Synchronize();
        float[] c = result.GetAsArray1D();
        for (int i = 0; i < Rows * Columns; i++)
        {
            double expected = Enumerable.Range(0, parts > 1 ? Depth : 2 * Kept).Sum(k => (double)a[(i / Columns * Depth) + k] * b[(i % Columns * Depth) + k]);
            Assert.That(c[i], i % Columns <= Kept ? Is.EqualTo(expected).Within(1e-5) : Is.NaN, $"element {i}");
        }
    }

    private static float[] Values(int count)
    {
        Random random = new(count);
        return [.. Enumerable.Range(0, count).Select(_ => (2 * random.NextSingle()) - 1)];
    }

    [Test]
    public void Operands_beyond_32_bits_are_refused()
    {
        using Gpu gpu = Gpu.OpenEmulated(warps: 1, onlyRecords: true);
        Assert.That(
            () => GpuGemm.Run<StridedMatrix, StridedMatrix, StridedMatrix, StrictPrecision>(
                gpu, gpu.Accelerator.DefaultStream, 1, new() { Rows = 1 << 21, Columns = 8, Depth = 1024 }),
            Throws.TypeOf<GpuException>().With.Message.Contains("2097152 x 1024 by 1024 x 8"));
    }

    private void CheckBoth<TPrecision>(int rows, int columns, int depth, double tolerance)
        where TPrecision : struct, IProductPrecision
    {
        Check<LargeTile, TPrecision>(rows, columns, depth, tolerance);
        Check<SmallTile, TPrecision>(rows, columns, depth, tolerance);
    }

    private void Check<TTile, TPrecision>(int rows, int columns, int depth, double tolerance, Gpu? gpu = null)
        where TTile : struct, IGemmTile
        where TPrecision : struct, IProductPrecision
    {
        TestGpu.NotOnOpenCl("matrix instructions", TPrecision.HasMatrixInstructions);
        Random random = new(rows + (100 * columns) + depth);
        float[] a = [.. Enumerable.Range(0, 2 * rows * depth).Select(_ => (2 * random.NextSingle()) - 1)];
        float[] b = [.. Enumerable.Range(0, 2 * depth * columns).Select(_ => (2 * random.NextSingle()) - 1)];
        float[] c = Multiply<TTile, TPrecision>(a, b, rows, columns, depth, gpu);
        for (int group = 0; group < 2; group++)
        {
            for (int i = 0; i < rows * columns; i++)
            {
                double expected = 0;
                for (int k = 0; k < depth; k++)
                {
                    expected += (double)a[(group * rows * depth) + (i / columns * depth) + k] * b[(group * depth * columns) + (k * columns) + (i % columns)];
                }

                Assert.That(c[(group * rows * columns) + i], Is.EqualTo(expected).Within(tolerance), $"group {group}, element {i}");
            }
        }
    }

    // C of every group; behind it a guard.
    private float[] Multiply<TTile, TPrecision>(float[] a, float[] b, int rows, int columns, int depth, Gpu? gpu = null)
        where TTile : struct, IGemmTile
        where TPrecision : struct, IProductPrecision
    {
        gpu ??= _gpu;
        int groups = a.Length / (rows * depth);
        using MemoryBuffer1D<float, Stride1D.Dense> left = gpu.Accelerator.Allocate1D(a);
        using MemoryBuffer1D<float, Stride1D.Dense> right = gpu.Accelerator.Allocate1D(b);
        using MemoryBuffer1D<float, Stride1D.Dense> result = gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, (groups * rows * columns) + 16).ToArray());
        GpuGemm.Run<StridedMatrix, StridedMatrix, StridedMatrix, TTile, TPrecision>(gpu, gpu.Accelerator.DefaultStream, groups, new()
        {
            A = StridedMatrix.Rows(left.View.BaseView, depth, rows * depth),
            B = StridedMatrix.Columns(right.View.BaseView, columns, depth * columns),
            C = StridedMatrix.Rows(result.View.BaseView, columns, rows * columns),
            Rows = rows,
            Columns = columns,
            Depth = depth,
        });
        gpu.Accelerator.Synchronize();
        float[] c = result.GetAsArray1D();
        Assert.That(c[^16..], Is.All.NaN, "guard behind the result");
        return c[..^16];
    }
}
