import { LifeBuoy } from 'lucide-react';
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
import { TicketsChart } from './TicketsChart';
import { TicketsForm } from './TicketsForm';
import { TicketsTable } from './TicketsTable';

export function TicketsPage() {
  const { data = [], isPending } = useRows('tickets');
  const rows = useSearch(data);
  const total = rows.reduce((sum, row) => sum + row.amount, 0);
  if (isPending) return <Skeleton lines={8} />;
  return (
    <>
      <PageHeader title="Tickets" note="Everything about your tickets">
        <Modal title="New entry">
          <TicketsForm />
        </Modal>
      </PageHeader>
      <div className="grid grid-cols-1 gap-4 sm:grid-cols-3">
        <Stat name="Total" value={formatMoney(total)} change={4} />
        <Stat name="Entries" value={String(rows.length)} change={-2} />
        <Stat name="Done" value={String(rows.filter((row) => row.status === 'done').length)} change={9} />
      </div>
      <Card title="Tickets by month">
        <LifeBuoy className="mb-2 text-brand" size={18} />
        <TicketsChart rows={rows} />
      </Card>
      <TabView tabs={{ Table: <TicketsTable rows={rows} />, Search: <Search /> }} />
    </>
  );
}

export default TicketsPage;
