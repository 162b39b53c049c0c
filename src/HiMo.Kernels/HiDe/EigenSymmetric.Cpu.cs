// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// A = sum_i values[i] w_i w_i^T of a symmetric matrix.
// Householder tridiagonalisation and implicit QL with accumulated transformations (Wilkinson and Reinsch, Handbook for Automatic Computation II,
// tred2 and tql2), in double precision.
internal sealed unsafe class EigenSymmetric : IDisposable
{
    private const int MaxSweeps = 60;

    private readonly int _n;
    private readonly double[][] _v;       // row i of the transformation, later of eigenvectors as columns
    private readonly double[] _d;
    private readonly double[] _e;
    private readonly int[] _order;

    /// <summary>Workspace for matrices of n x n.</summary>
    public EigenSymmetric(int n, WorkerPool pool)
    {
        Guard.That(n > 0, n, "must be at least 1");
        ArgumentNullException.ThrowIfNull(pool);
        _n = n;
        _v = new double[n][];
        for (int i = 0; i < n; i++)
        {
            _v[i] = new double[n];
        }

        _d = new double[n];
        _e = new double[n];
        _order = new int[n];
    }

    /// <summary>All eigenvalues and eigenvectors.</summary>
    /// <param name="matrix">n x n, symmetric, finite, row-major; the lower triangle is read, all of it is destroyed.</param>
    /// <param name="values">Receives the n eigenvalues in descending order.</param>
    /// <param name="vectors">Receives n x n: row i is the unit eigenvector of values[i].</param>
    public void Decompose(float* matrix, float* values, float* vectors)
    {
        int n = _n;
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j <= i; j++)
            {
                _v[i][j] = _v[j][i] = matrix[((nint)i * n) + j];
            }
        }

        Tridiagonalise();
        DiagonaliseByQl();
        for (int i = 0; i < n; i++)
        {
            int place = i;
            for (; place > 0 && _d[_order[place - 1]] < _d[i]; place--)
            {
                _order[place] = _order[place - 1];
            }

            _order[place] = i;
        }

        for (int i = 0; i < n; i++)
        {
            values[i] = (float)_d[_order[i]];
            for (int j = 0; j < n; j++)
            {
                vectors[((nint)i * n) + j] = (float)_v[j][_order[i]];
            }
        }
    }

    public void Dispose()
    {
    }

    private void Tridiagonalise()
    {
        int n = _n;
        double[][] v = _v;
        Array.Copy(v[n - 1], _d, n);
        for (int i = n - 1; i > 0; i--)
        {
            double scale = 0.0;
            double h = 0.0;
            for (int k = 0; k < i; k++)
            {
                scale += Math.Abs(_d[k]);
            }

            if (scale == 0.0)
            {
                _e[i] = _d[i - 1];
                for (int j = 0; j < i; j++)
                {
                    _d[j] = v[i - 1][j];
                    v[i][j] = 0.0;
                    v[j][i] = 0.0;
                }
            }
            else
            {
                for (int k = 0; k < i; k++)
                {
                    _d[k] /= scale;
                    h += _d[k] * _d[k];
                }

                double f = _d[i - 1];
                double g = f > 0.0 ? -Math.Sqrt(h) : Math.Sqrt(h);
                _e[i] = scale * g;
                h -= f * g;
                _d[i - 1] = f - g;
                Array.Clear(_e, 0, i);
                for (int j = 0; j < i; j++)
                {
                    f = _d[j];
                    v[j][i] = f;
                    g = _e[j] + (v[j][j] * f);
                    for (int k = j + 1; k <= i - 1; k++)
                    {
                        g += v[k][j] * _d[k];
                        _e[k] += v[k][j] * f;
                    }

                    _e[j] = g;
                }

                f = 0.0;
                for (int j = 0; j < i; j++)
                {
                    _e[j] /= h;
                    f += _e[j] * _d[j];
                }

                double hh = f / (h + h);
                for (int j = 0; j < i; j++)
                {
                    _e[j] -= hh * _d[j];
                }

                for (int j = 0; j < i; j++)
                {
                    f = _d[j];
                    g = _e[j];
                    for (int k = j; k <= i - 1; k++)
                    {
                        v[k][j] -= (f * _e[k]) + (g * _d[k]);
                    }

                    _d[j] = v[i - 1][j];
                    v[i][j] = 0.0;
                }
            }

            _d[i] = h;
        }

        for (int i = 0; i < n - 1; i++)
        {
            v[n - 1][i] = v[i][i];
            v[i][i] = 1.0;
            double h = _d[i + 1];
            if (h != 0.0)
            {
                for (int k = 0; k <= i; k++)
                {
                    _d[k] = v[k][i + 1] / h;
                }

                for (int j = 0; j <= i; j++)
                {
                    double g = 0.0;
                    for (int k = 0; k <= i; k++)
                    {
                        g += v[k][i + 1] * v[k][j];
                    }

                    for (int k = 0; k <= i; k++)
                    {
                        v[k][j] -= g * _d[k];
                    }
                }
            }

            for (int k = 0; k <= i; k++)
            {
                v[k][i + 1] = 0.0;
            }
        }

        for (int j = 0; j < n; j++)
        {
            _d[j] = v[n - 1][j];
            v[n - 1][j] = 0.0;
        }

        v[n - 1][n - 1] = 1.0;
        _e[0] = 0.0;
    }

    private void DiagonaliseByQl()
    {
        int n = _n;
        for (int i = 1; i < n; i++)
        {
            _e[i - 1] = _e[i];
        }

        _e[n - 1] = 0.0;
        double norm = 0.0;
        for (int i = 0; i < n; i++)
        {
            norm = Math.Max(norm, Math.Abs(_d[i]) + Math.Abs(_e[i]));
        }

        for (int l = 0; l < n; l++)
        {
            for (int sweep = 0; ; sweep++)
            {
                int m = l;
                while (m < n - 1 && Math.Abs(_e[m]) > 1e-17 * norm)
                {
                    m++;
                }

                if (m == l)
                {
                    break;
                }

                if (sweep == MaxSweeps)
                {
                    throw new ArithmeticException($"QL did not converge for eigenvalue {l} of {n} in {MaxSweeps} sweeps.");
                }

                double g = (_d[l + 1] - _d[l]) / (2.0 * _e[l]);
                double r = double.Hypot(g, 1.0);
                g = _d[m] - _d[l] + (_e[l] / (g + Math.CopySign(r, g)));
                double s = 1.0;
                double c = 1.0;
                double p = 0.0;
                int i = m - 1;
                for (; i >= l; i--)
                {
                    double f = s * _e[i];
                    double b = c * _e[i];
                    r = double.Hypot(f, g);
                    _e[i + 1] = r;
                    if (r == 0.0)
                    {
                        _d[i + 1] -= p;
                        _e[m] = 0.0;
                        break;
                    }

                    s = f / r;
                    c = g / r;
                    g = _d[i + 1] - p;
                    r = ((_d[i] - g) * s) + (2.0 * c * b);
                    p = s * r;
                    _d[i + 1] = g + p;
                    g = (c * r) - b;
                    for (int k = 0; k < n; k++)
                    {
                        double[] row = _v[k];
                        f = row[i + 1];
                        row[i + 1] = (s * row[i]) + (c * f);
                        row[i] = (c * row[i]) - (s * f);
                    }
                }

                if (r == 0.0 && i >= l)
                {
                    continue;
                }

                _d[l] -= p;
                _e[l] = g;
                _e[m] = 0.0;
            }
        }
    }
}
