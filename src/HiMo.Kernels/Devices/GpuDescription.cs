// SPDX-License-Identifier: Apache-2.0
using System.Globalization;

namespace HiMo.Kernels;

/// <summary>What one device is.</summary>
/// <param name="Index">The driver's number of a CUDA device, or the place of an OpenCL device, from 0; -1 for the emulation.</param>
/// <param name="Name">The driver's name.</param>
/// <param name="Architecture">For example <c>sm_90</c>; <c>emulated</c> for ILGPU's CPU accelerator; <c>OpenCL</c>.</param>
/// <param name="MemoryBytes">Device memory; 0 for the emulation, which has the process's.</param>
/// <param name="Multiprocessors">Number of multiprocessors.</param>
/// <param name="Driver">Highest CUDA version of the installed driver, for example <c>12.4</c>; ILGPU's version for the emulation; platform and version of OpenCL.</param>
public sealed record GpuDescription(int Index, string Name, string Architecture, long MemoryBytes, int Multiprocessors, string Driver)
{
    /// <summary>First architecture with the matrix instructions that the kernels use: tf32 and bf16.</summary>
    private const int FirstArchitecture = 80;

    private const int FirstWithClusters = 90;

    /// <summary>Architecture of every OpenCL device that has what the kernels need.</summary>
    internal const string OpenCl = "OpenCL";

    /// <summary>Whether the kernels can run there: <c>sm_80</c> or later, the emulation, or an OpenCL device that has what they need.</summary>
    public bool IsSupported => Index < 0 || Architecture == OpenCl || IsAtLeast(FirstArchitecture);

    /// <summary>Whether groups of it can reach each other's shared memory.</summary>
    internal bool HasClusters => Index >= 0 && IsAtLeast(FirstWithClusters);

    /// <summary>One line, for example <c>NVIDIA H100 (sm_90, 80.0 GiB, 132 multiprocessors, driver for CUDA 12.4)</c>.</summary>
    public override string ToString() => Index < 0
        ? Name
        : FormattableString.Invariant($"{Name} ({Architecture}, {MemoryBytes / (double)(1L << 30):0.0} GiB, {Multiprocessors} multiprocessors, {(IsCuda ? "driver for CUDA " : "")}{Driver})");

    private bool IsCuda => Architecture.StartsWith("sm_", StringComparison.Ordinal);

    private bool IsAtLeast(int architecture) => IsCuda && int.Parse(Architecture.AsSpan(3), CultureInfo.InvariantCulture) >= architecture;
}
