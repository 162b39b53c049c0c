// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>No tasks at all.</summary>
internal readonly struct NoWork : IParallelWork
{
    public void Run(int task, int thread)
    {
    }
}
