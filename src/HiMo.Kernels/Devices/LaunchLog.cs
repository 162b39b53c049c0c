// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>One launch.</summary>
/// <param name="Kernel">The kernel's method, generic ones closed.</param>
/// <param name="Groups">Extent of the grid.</param>
/// <param name="Threads">Threads of a group.</param>
/// <param name="SharedLength">Words of dynamic shared memory.</param>
internal sealed record LaunchEntry(MethodInfo Kernel, Index3D Groups, int Threads, int SharedLength);

/// <summary>Counts what a step asks of its device, so that a test can hold the library to its promise.</summary>
internal sealed class LaunchLog
{
    /// <summary>Every launch, in order.</summary>
    public List<LaunchEntry> Launches { get; } = [];

    /// <summary>Buffers allocated.</summary>
    public int Allocations { get; set; }

    /// <summary>Copies between host and device.</summary>
    public int HostCopies { get; set; }

    /// <summary>Times the host waited for the device.</summary>
    public int Synchronizations { get; set; }

    /// <summary>Forgets everything.</summary>
    public void Reset()
    {
        Launches.Clear();
        Allocations = 0;
        HostCopies = 0;
        Synchronizations = 0;
    }
}
