// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class GpuTests
{
    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = TestGpu.Open(warps: 4);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    [Test]
    public void A_device_that_is_not_there_is_refused_with_the_way_out()
    {
        IReadOnlyList<GpuDescription> found = Gpu.FindCuda();
        Assert.That(
            () => Gpu.OpenCuda(found.Count),
            Throws.InstanceOf<GpuException>().With.Message.Contains(found.Count == 0 ? "nvidia-smi" : $"There is no CUDA device {found.Count}"));
    }

    [TestCase("sm_75", false)]
    [TestCase("sm_80", true)]
    [TestCase("sm_90", true)]
    [TestCase("sm_120", true)]
    public void Matrix_instructions_decide_which_device_is_supported(string architecture, bool expected)
    {
        GpuDescription description = new(0, "Card", architecture, 80L << 30, 132, "12.4");
        Assert.That(description.IsSupported, Is.EqualTo(expected));
        Assert.That(description.ToString(), Is.EqualTo($"Card ({architecture}, 80.0 GiB, 132 multiprocessors, driver for CUDA 12.4)"));
    }

    [Test]
    public void The_emulation_says_what_it_is()
    {
        TestGpu.NeedsEmulation();
        Assert.That(_gpu.Description, Is.EqualTo(new GpuDescription(-1, "ILGPU's CPU accelerator", "emulated", 0, 1, "1.5.3")));
    }

    [Test]
    public void A_failed_launch_names_kernel_grid_and_device() =>
        Assert.That(
            () => _gpu.Launch(_gpu.Accelerator.DefaultStream, BatchMeanGpu.CenterKernel, new Index3D(3, 1, 1), 4096, new CenterArguments(), 5),
            Throws.InstanceOf<GpuException>().With.Message.StartsWith(
                $"Kernel BatchMeanGpu.CenterKernel with 3 x 1 x 1 groups of 4096 threads and 20 bytes of dynamic shared memory failed on {_gpu.Description}: "));

    [Test]
    public void A_failed_read_names_the_device_and_the_kernel_that_was_launched_last()
    {
        using Gpu gpu = TestGpu.Open(warps: 4);
        using MemoryBuffer1D<float, Stride1D.Dense> memory = gpu.Allocate<float>(4);
        Assert.That(Read, Throws.InstanceOf<GpuException>().With.Message.StartsWith($"Reading a result from {gpu.Description} failed, in the copy or in work before it: "));
        GpuMatrix matrix = new(memory.View.BaseView, 2, 2);
        RowConversion.ToDense(gpu, gpu.Accelerator.DefaultStream, matrix, memory.View.BaseView);
        Assert.That(
            Read,
            Throws.InstanceOf<GpuException>().With.Message.StartsWith(
                $"Reading a result from {gpu.Description} failed, in the copy or in work before it, of which kernel RowConversion.Kernel<Single,Single,Float32Stored,Float32Stored> was launched last: "));

        void Read() => gpu.Read(gpu.Accelerator.DefaultStream, memory.View.BaseView, new float[5].AsSpan()); // one more than there are
    }

    [Test]
    public void Foreign_streams_exist_on_CUDA_only()
    {
        TestGpu.NeedsEmulation();
        Assert.That(_gpu.WrapStream(0), Is.SameAs(_gpu.Accelerator.DefaultStream));
        Assert.That(() => _gpu.WrapStream(8), Throws.ArgumentException.With.Message.Contains("must be 0 on a device that is not CUDA"));
    }

    [Test]
    public unsafe void Foreign_memory_is_used_where_it_lies([Values] GpuElement element)
    {
        TestGpu.NeedsEmulation();
        int size = GpuMatrix.SizeOf(element);
        byte[] memory = [.. Enumerable.Range(0, 12).SelectMany(i => Stored(i))];
        fixed (byte* start = memory)
        {
            GpuMatrix matrix = _gpu.Wrap((nint)(start + size), 2, 3, element, rowStride: 5); // not aligned to more than an element
            using MemoryBuffer1D<float, Stride1D.Dense> dense = _gpu.Accelerator.Allocate1D<float>(6);
            RowConversion.ToDense(_gpu, _gpu.Accelerator.DefaultStream, matrix, dense.View.BaseView);
            Assert.That(dense.GetAsArray1D(), Is.EqualTo(new[] { 1.0f, 2, 3, 6, 7, 8 }));
            Assert.That(matrix.Memory.Length, Is.EqualTo(8 * size), "up to the last element of the last row");
            _gpu.Accelerator.DefaultStream.Synchronize();
            dense.CopyFromCPU([21.0f, 22, 23, 26, 27, 28]);
            RowConversion.FromDense(_gpu, _gpu.Accelerator.DefaultStream, dense.View.BaseView, matrix);
            _gpu.Accelerator.DefaultStream.Synchronize();
        }

        Assert.That(memory, Is.EqualTo(new[] { 0, 21, 22, 23, 4, 5, 26, 27, 28, 9, 10, 11 }.SelectMany(i => Stored(i))), "written there, and only there");

        byte[] Stored(float value) => element switch
        {
            GpuElement.Float16 => BitConverter.GetBytes((System.Half)value),
            GpuElement.BFloat16 => BitConverter.GetBytes(BFloat16Stored.Narrow(value)),
            _ => BitConverter.GetBytes(value),
        };
    }

    [Test]
    public void Matrices_that_cannot_be_are_refused()
    {
        TestGpu.NotOnOpenCl("memory that can be wrapped");
        using MemoryBuffer1D<float, Stride1D.Dense> memory = _gpu.Accelerator.Allocate1D<float>(11);
        ArrayView<float> view = memory.View.BaseView;
        Assert.Multiple(() =>
        {
            Refused("needs 12 elements, the view has 11", () => _ = new GpuMatrix(view, 3, 4));
            Refused("needs 12 elements, the view has 11", () => _ = new GpuMatrix(view, 2, 3, rowStride: 9));
            Refused("a matrix of -1 x 4", () => _ = new GpuMatrix(view, -1, 4));
            Refused("rows 3 apart", () => _ = new GpuMatrix(view, 2, 4, rowStride: 3));
            Refused("must be a multiple of 4", () => _ = _gpu.Wrap(6, 1, 1));
            Refused("must be a multiple of 2", () => _ = _gpu.Wrap(7, 1, 1, GpuElement.Float16));
            Refused("must be the address", () => _ = _gpu.Wrap(0, 1, 1));
            Assert.That(new GpuMatrix(view, 2, 3, rowStride: 8).RowStride, Is.EqualTo(8));
            Assert.That(_gpu.Wrap(0, 0, 4).IsEmpty);
        });

        static void Refused(string message, Action call) => Assert.That(call, Throws.ArgumentException.With.Message.Contains(message));
    }

    [TestCase(GpuElement.Float32)]
    [TestCase(GpuElement.Float16)]
    [TestCase(GpuElement.BFloat16)]
    public void Rows_of_any_stride_and_type_go_there_and_back_and_what_is_between_them_stays(GpuElement element)
    {
        const int Rows = 13;
        const int Width = 11;
        const int Stride = Width + 2;
        int size = GpuMatrix.SizeOf(element) / sizeof(ushort);
        float[] values = [.. Enumerable.Range(0, Rows * Width).Select(i => (i - 70) * 0.5f)];     // exact in every type
        ushort[] unset = [.. Enumerable.Repeat((ushort)0x7fc1, Rows * Stride * size)];
        using MemoryBuffer1D<float, Stride1D.Dense> dense = _gpu.Accelerator.Allocate1D(values);
        using MemoryBuffer1D<ushort, Stride1D.Dense> words = _gpu.Accelerator.Allocate1D(unset);
        ArrayView<ushort> view = words.View.BaseView;
        GpuMatrix strided = element switch
        {
            GpuElement.Float16 => new GpuMatrix(view.Cast<ILGPU.Half>(), Rows, Width, Stride),
            GpuElement.BFloat16 => GpuMatrix.OfBFloat16(view, Rows, Width, Stride),
            _ => new GpuMatrix(view.Cast<float>(), Rows, Width, Stride),
        };

        RowConversion.FromDense(_gpu, _gpu.Accelerator.DefaultStream, dense.View.BaseView, strided);
        dense.MemSetToZero();
        RowConversion.ToDense(_gpu, _gpu.Accelerator.DefaultStream, strided, dense.View.BaseView);

        ushort[] written = words.GetAsArray1D();
        Assert.Multiple(() =>
        {
            Assert.That(dense.GetAsArray1D(), Is.EqualTo(values));
            Assert.That(Enumerable.Range(0, written.Length).Where(i => i / size % Stride >= Width).Select(i => written[i]), Is.All.EqualTo(0x7fc1));
            Assert.That(written[..size], Is.EqualTo(element switch
            {
                GpuElement.Float16 => [BitConverter.HalfToUInt16Bits((System.Half)values[0])],
                GpuElement.BFloat16 => [(ushort)(BitConverter.SingleToUInt32Bits(values[0]) >> 16)],
                _ => new[] { (ushort)BitConverter.SingleToUInt32Bits(values[0]), (ushort)(BitConverter.SingleToUInt32Bits(values[0]) >> 16) },
            }));
        });
    }

    [TestCase(1.0f, 0x3f80)]
    [TestCase(1.00390625f, 0x3f80)]     // halfway, the even neighbour is below
    [TestCase(1.01171875f, 0x3f82)]     // halfway, the even neighbour is above
    [TestCase(-3.4028235e38f, 0xff80)]
    [TestCase(float.NaN, 0xffc0)]
    public void Bfloat16_rounds_to_nearest_even_and_keeps_NaN(float value, int bits)
    {
        Assert.That(BFloat16Stored.Narrow(value), Is.EqualTo(bits));
        Assert.That(BFloat16Stored.Widen((ushort)bits), float.IsNaN(value) ? Is.NaN : Is.EqualTo(BitConverter.Int32BitsToSingle(bits << 16)));
    }
}
