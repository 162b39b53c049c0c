// SPDX-License-Identifier: Apache-2.0
using System.Reflection;

namespace HiMo.Kernels;

/// <summary>Counts what a step asks of its device, so that a test can hold the library to its promise.</summary>
internal sealed class LaunchLog
{
    /// <summary>Every kernel launched, in order.</summary>
    public List<MethodInfo> Launches { get; } = [];

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
