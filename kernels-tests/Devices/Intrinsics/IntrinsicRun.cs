// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>What a kernel of <see cref="IntrinsicRun"/> reads and writes, as bits.</summary>
internal struct WordArguments
{
    public ArrayView<uint> Inputs;
    public ArrayView<uint> Outputs;
}

/// <summary>
/// Runs a kernel around one intrinsic: its C# body in emulation, its instruction on a GPU. The tests of this folder know neither of them: they compare with
/// what the PTX ISA says.
/// </summary>
internal static class IntrinsicRun
{
    /// <summary>Opens the device of the tests.</summary>
    /// <param name="warps">Warps of a group.</param>
    /// <param name="groups">Groups that run at the same time in emulation, which is also what a cluster may have.</param>
    public static Gpu Open(int warps, int groups = 1)
    {
        if (TestGpu.IsOpenCl)
        {
            Assert.Ignore("OpenCL devices have none of these instructions.");
        }

        return TestGpu.IsReal ? Gpu.OpenCuda() : Gpu.OpenEmulated(warps, multiprocessors: groups, mostOfCluster: groups);
    }

    /// <summary>Output words of a function of single words, one each, in a warp.</summary>
    public static uint[] Each(Action<WordArguments> kernel, uint[] inputs) => Words(kernel, inputs, inputs.Length);

    /// <summary>Results of a function of single numbers.</summary>
    public static float[] Each(Action<WordArguments> kernel, float[] inputs) =>
        [.. Each(kernel, [.. inputs.Select(BitConverter.SingleToUInt32Bits)]).Select(BitConverter.UInt32BitsToSingle)];

    /// <summary>Output words of one warp.</summary>
    public static uint[] Words(Action<WordArguments> kernel, uint[] inputs, int outputs)
    {
        using Gpu gpu = Open(warps: 1);
        using MemoryBuffer1D<uint, Stride1D.Dense> from = gpu.Accelerator.Allocate1D(inputs);
        using MemoryBuffer1D<uint, Stride1D.Dense> to = gpu.Accelerator.Allocate1D(Enumerable.Repeat(0xdeadbeefu, outputs).ToArray());
        gpu.Launch(gpu.Accelerator.DefaultStream, kernel, new Index3D(1, 1, 1), Gpu.WarpSize, new WordArguments { Inputs = from.View.BaseView, Outputs = to.View.BaseView });
        gpu.Accelerator.Synchronize();
        return to.GetAsArray1D();
    }

    /// <summary>Finite numbers with random bits.</summary>
    public static uint[] RandomBits(int count)
    {
        Random random = new(count);
        return [.. Enumerable.Range(0, 2 * count).Select(_ => (uint)random.NextInt64(1L << 32)).Where(bits => float.IsFinite(BitConverter.UInt32BitsToSingle(bits))).Take(count)];
    }
}
