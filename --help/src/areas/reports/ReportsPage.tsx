import { ChartPie } from 'lucide-react';
import { Card } from '@/components/Card';
import { Modal } from '@/components/Modal';
import { PageHeader } from '@/components/PageHeader';
import { Search } from '@/components/Search';
import { Skeleton } from '@/components/Skeleton';
import { Stat } from '@/components/Stat';
import { TabView } from '@/components/TabView';
import { useRows } from '@/hooks/useRows';
import { useSearch } from '@/hooks/useSearch';
import { formatMoney } from '@/lib/format';
import { ReportsChart } from './ReportsChart';
import { ReportsForm } from './ReportsForm';
import { ReportsTable } from './ReportsTable';

export function ReportsPage() {
  const { data = [], isPending } = useRows('reports');
  const rows = useSearch(data);
  const total = rows.reduce((sum, row) => sum + row.amount, 0);
  if (isPending) return <Skeleton lines={8} />;
  return (
    <>
      <PageHeader title="Reports" note="Everything about your reports">
        <Modal title="New entry">
          <ReportsForm />
        </Modal>
      </PageHeader>
      <div className="grid grid-cols-1 gap-4 sm:grid-cols-3">
        <Stat name="Total" value={formatMoney(total)} change={4} />
        <Stat name="Entries" value={String(rows.length)} change={-2} />
        <Stat name="Done" value={String(rows.filter((row) => row.status === 'done').length)} change={9} />
      </div>
      <Card title="Reports by month">
        <ChartPie className="mb-2 text-brand" size={18} />
        <ReportsChart rows={rows} />
      </Card>
      <TabView tabs={{ Table: <ReportsTable rows={rows} />, Search: <Search /> }} />
    </>
  );
}

export default ReportsPage;
