import { Receipt } from 'lucide-react';
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
import { InvoicesChart } from './InvoicesChart';
import { InvoicesForm } from './InvoicesForm';
import { InvoicesTable } from './InvoicesTable';

export function InvoicesPage() {
  const { data = [], isPending } = useRows('invoices');
  const rows = useSearch(data);
  const total = rows.reduce((sum, row) => sum + row.amount, 0);
  if (isPending) return <Skeleton lines={8} />;
  return (
    <>
      <PageHeader title="Invoices" note="Everything about your invoices">
        <Modal title="New entry">
          <InvoicesForm />
        </Modal>
      </PageHeader>
      <div className="grid grid-cols-1 gap-4 sm:grid-cols-3">
        <Stat name="Total" value={formatMoney(total)} change={4} />
        <Stat name="Entries" value={String(rows.length)} change={-2} />
        <Stat name="Done" value={String(rows.filter((row) => row.status === 'done').length)} change={9} />
      </div>
      <Card title="Invoices by month">
        <Receipt className="mb-2 text-brand" size={18} />
        <InvoicesChart rows={rows} />
      </Card>
      <TabView tabs={{ Table: <InvoicesTable rows={rows} />, Search: <Search /> }} />
    </>
  );
}

export default InvoicesPage;
