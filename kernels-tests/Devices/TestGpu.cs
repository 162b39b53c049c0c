// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The device of the tests: ILGPU's emulation, or, with HIMO_TEST_GPU=1 or opencl, the first CUDA or OpenCL device.</summary>
internal static class TestGpu
{
    /// <summary>Category of what runs in emulation: <c>./test</c> gives it a process and a processor of its own beside the other tests.</summary>
    public const string Emulation = nameof(Emulation);

    /// <summary>Whether a real device was asked for.</summary>
    public static bool IsReal { get; } = Environment.GetEnvironmentVariable("HIMO_TEST_GPU") == "1";

    /// <summary>Whether an OpenCL device was asked for.</summary>
    public static bool IsOpenCl { get; } = Environment.GetEnvironmentVariable("HIMO_TEST_GPU") == "opencl";

    /// <summary>Group sizes: the emulation pays for every lane, hence eigensystems by one warp.</summary>
    public static GpuStepSettings Settings { get; } = IsReal ? new() : new() { EigenThreads = Gpu.WarpSize };

    /// <summary>Those with eigensystems by several warps, where these are the point.</summary>
    public static GpuStepSettings SettingsOfWarps { get; } = IsReal || IsOpenCl ? Settings : Settings with { EigenThreads = 2 * Gpu.WarpSize };

    /// <summary>How far loss and gradients may be from the reference, as <see cref="Expect"/> measures.</summary>
    public static (double Loss, double Gradient) Tolerance(GpuPrecision precision) => precision switch
    {
        GpuPrecision.Tf32 => (5e-3, 3e-2),
        GpuPrecision.Bf16 => (3e-2, 1e-1),
        _ => (5e-6, 1e-3),
    };

    /// <summary>Skips the running test on a real device, whose memory the process cannot see.</summary>
    public static void NeedsEmulation()
    {
        if (IsReal || IsOpenCl)
        {
            Assert.Ignore("Needs the emulation.");
        }
    }

    /// <summary>Skips the running test, or its fixture, in emulation.</summary>
    public static void NeedsDevice()
    {
        if (!IsReal)
        {
            Assert.Ignore("Needs a CUDA device, and HIMO_TEST_GPU=1.");
        }
    }

    /// <summary>Skips the running test on an OpenCL device, which does not have what it is about; docs/design.md has the table of what runs where.</summary>
    /// <param name="what">What it needs.</param>
    /// <param name="isNeeded">Whether it does.</param>
    public static void NotOnOpenCl(string what, bool isNeeded = true)
    {
        if (IsOpenCl && isNeeded)
        {
            Assert.Ignore($"OpenCL devices do not have {what}.");
        }
    }

    /// <summary>Skips the running test on an OpenCL device if its eigenproblem spans the chip.</summary>
    /// <param name="problem">n.</param>
    /// <param name="largest">Largest n of one group.</param>
    public static void EigenproblemFitsOpenCl(int problem, int largest) => NotOnOpenCl("groups that wait for each other", problem > largest);

    /// <summary>Opens it, with its launch log on.</summary>
    /// <param name="warps">Most warps of a group in emulation: 4 for a step, 8 for the warpgroup instructions. All lanes wake at every launch.</param>
    public static Gpu Open(int warps = 4)
    {
        Gpu gpu = IsReal ? Gpu.OpenCuda() : IsOpenCl ? Gpu.OpenOpenCl() : Gpu.OpenEmulated(warps);
        gpu.Log.IsRecording = true;
        return gpu;
    }
}
